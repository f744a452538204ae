// A session of a front end, played with openapi-fetch and the generated types: `node dist/scenario.js ADDRESS PICTURE`.
// test_clients.py generates the types, compiles this file against them and runs it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { argv } from "node:process";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./dist/schema.js";

type ErrorBody = components["schemas"]["ErrorBody"];
type ErrorCode = components["schemas"]["ErrorCode"];
type Tokens = components["schemas"]["Tokens"];
type Result<T> = { data?: T; error?: unknown; response: Response };

const credentials = { email: "typescript@example.org", password: "a long enough password" };
const list = { lists: [{ status: "CURRENT", entries: [{ media: { id: 16498, idMal: 16498 }, progress: 3, score: 9 }] }] };

/** Return the body of a successful response. */
function ok<T>({ data, error, response }: Result<T>, status = 200): T {
  assert.equal(response.status, status, JSON.stringify(error));
  assert.ok(data !== undefined);
  return data;
}

/** Check that a response is 204 without a body. */
function empty({ data, error, response }: Result<unknown>): void {
  assert.equal(response.status, 204, JSON.stringify(error));
  assert.equal(data, undefined);
}

/** Return the body of an error. */
function failed({ error, response }: { error?: ErrorBody; response: Response }, status: number, code: ErrorCode): ErrorBody {
  assert.equal(response.status, status);
  assert.ok(error);
  assert.equal(error.code, code);
  return error;
}

/** Return the first item of a list. */
function first<T>(items: T[]): T {
  const [item] = items;
  assert.ok(item !== undefined);
  return item;
}

function bearer(baseUrl: string, token: string): Client<paths> {
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });
}

async function browse(guest: Client<paths>): Promise<void> {
  const found = ok(await guest.GET("/anime", { params: { query: { type: "TV", season: "FALL", sort: "-score" } } }));
  assert.ok(found.length > 0 && found.every((item) => item.type === "TV" && item.season === "FALL"));
  const page = await guest.GET("/anime", { params: { query: { limit: 2, total: true } } });
  assert.equal(ok(page).length, 2);
  assert.ok(Number(page.response.headers.get("X-Total-Count")) > 2);
  const anime_id = first(found).id;
  const anime = ok(await guest.GET("/anime/{anime_id}", { params: { path: { anime_id } } }));
  assert.equal(anime.title, first(found).title);
  const release_id = first(ok(await guest.GET("/releases", { params: { query: { anime_id } } }))).id;
  assert.ok(ok(await guest.GET("/episodes", { params: { query: { release_id } } })).length > 0);
  assert.ok(ok(await guest.GET("/search/anime", { params: { query: { q: "shingeki no kyojin" } } })).length > 0);
  failed(await guest.GET("/search/anime", { params: { query: { q: "x" } } }), 400, "VALIDATION_ERROR");
  failed(await guest.GET("/anime/{anime_id}", { params: { path: { anime_id: release_id } } }), 404, "NOT_FOUND");
  const error = failed(await guest.GET("/anime", { params: { query: { limit: 0 } } }), 422, "VALIDATION_ERROR");
  assert.deepEqual(error.details?.map((detail) => detail.field), ["limit"]);
}

async function signIn(guest: Client<paths>, baseUrl: string): Promise<Tokens> {
  failed(await bearer(baseUrl, "x").GET("/users/me"), 401, "AUTH_ERROR");
  failed(await guest.POST("/auth/login", { body: credentials }), 401, "AUTH_ERROR");
  const { refresh_token } = ok(await guest.POST("/auth/register", { body: credentials }), 201);
  failed(await guest.POST("/auth/register", { body: credentials }), 400, "VALIDATION_ERROR");
  const tokens = ok(await guest.POST("/auth/refresh", { body: { refresh_token } }));
  assert.notEqual(tokens.refresh_token, refresh_token);
  return tokens;
}

async function favourites(client: Client<paths>): Promise<void> {
  const anime_id = first(ok(await client.GET("/anime"))).id;
  const added = ok(await client.POST("/favorites", { body: { anime_id } }), 201);
  failed(await client.POST("/favorites", { body: { anime_id } }), 409, "CONFLICT_ERROR");
  assert.deepEqual(ok(await client.GET("/favorites")), [added]);
  assert.equal(added.anime.id, anime_id);
  empty(await client.DELETE("/favorites/{anime_id}", { params: { path: { anime_id } } }));
  assert.deepEqual(ok(await client.GET("/favorites")), []);
}

async function watch(client: Client<paths>): Promise<void> {
  const anime_id = first(ok(await client.GET("/search/anime", { params: { query: { q: "death note" } } }))).id;
  const release_id = first(ok(await client.GET("/releases", { params: { query: { anime_id } } }))).id;
  const episode = first(ok(await client.GET("/episodes", { params: { query: { release_id } } })));
  const progress = ok(
    await client.POST("/watch/progress", {
      body: { anime_id, episode: episode.number, position_seconds: 431, progress_percent: 30.5 },
      params: { header: { "Idempotency-Key": "player-1" } },
    }),
  );
  assert.equal(progress.position_seconds, 431);
  assert.deepEqual(ok(await client.GET("/watch/continue")), [progress]);
  const view = ok(await client.POST("/views", { body: { episode_id: episode.id, progress: 431 } }), 201);
  assert.deepEqual([view.anime_id, view.device], [anime_id, null]);
}

async function collect(client: Client<paths>): Promise<void> {
  const [one, other] = ok(await client.GET("/anime", { params: { query: { limit: 2 } } }));
  assert.ok(one && other);
  const collection = ok(await client.POST("/collections", { body: { name: "Rainy days", is_public: true } }), 201);
  const item = (anime_id: string) => ({ path: { collection_id: collection.id, anime_id } });
  const params = { path: { collection_id: collection.id } };
  empty(await client.PUT("/collections/{collection_id}/anime/{anime_id}", { params: item(one.id) }));
  empty(
    await client.PUT("/collections/{collection_id}/anime/{anime_id}", {
      params: { ...item(other.id), query: { position: 0 } },
    }),
  );
  const items = ok(await client.GET("/collections/{collection_id}/anime", { params }));
  assert.deepEqual(items.map(({ id }) => id), [other.id, one.id]);
  const changed = ok(
    await client.PATCH("/collections/{collection_id}", { params, body: { description: "Best with tea" } }),
  );
  assert.deepEqual([changed.name, changed.item_count], ["Rainy days", 2]);
  assert.deepEqual(ok(await client.GET("/collections")), [changed]);
}

async function keepLibrary(client: Client<paths>): Promise<void> {
  const params = { path: { anime_id: first(ok(await client.GET("/anime"))).id } };
  const read = await client.PUT("/library/{anime_id}", { params, body: { status: "plan_to_watch" } });
  const header = { "If-Match": read.response.headers.get("ETag") ?? "" };
  const change = { params: { ...params, header }, body: { status: "watching", score: 8 } } as const;
  const entry = ok(await client.PUT("/library/{anime_id}", change));
  assert.deepEqual([entry.version, entry.score], [ok(read).version + 1, 8]);
  failed(await client.PUT("/library/{anime_id}", change), 412, "PRECONDITION_FAILED");
  const report = ok(await client.POST("/library/import", { body: list, headers: { "Content-Type": "application/json" } }));
  assert.ok("added" in report);
  assert.deepEqual([report.added, report.not_imported], [1, []]);
  const exported = ok(await client.GET("/library/export"));
  assert.ok(typeof exported === "object");
  assert.ok(exported.entries.some((each) => each.entry.id === entry.id));
  const listed = ok(await client.GET("/library", { params: { query: { status: "watching" } } }));
  assert.deepEqual(listed.map((each) => "status" in each && each.status), ["watching", "watching"]);
}

async function setAvatar(client: Client<paths>, picture: Buffer): Promise<void> {
  const user = ok(
    await client.PATCH("/users/me", {
      body: { username: "typescript", avatar: new Blob([new Uint8Array(picture)], { type: "image/png" }) },
      bodySerializer(body) {
        const form = new FormData();
        for (const [name, value] of Object.entries(body ?? {})) {
          form.append(name, typeof value === "boolean" ? String(value) : value);
        }
        return form;
      },
    }),
  );
  assert.equal(user.username, "typescript");
  const name = user.avatar?.split("/").at(-1);
  assert.ok(name);
  const avatar = await client.GET("/media/avatars/{name}", { params: { path: { name } }, parseAs: "blob" });
  assert.equal(await ok(avatar).slice(0, 4).text(), "RIFF");
  failed(await client.GET("/media/avatars/{name}", { params: { path: { name: "x.webp" } } }), 404, "NOT_FOUND");
}

const [address, picture] = argv.slice(2);
assert.ok(address && picture);
const guest = createClient<paths>({ baseUrl: address });
await browse(guest);
const { access_token, refresh_token } = await signIn(guest, address);
const client = bearer(address, access_token);
await favourites(client);
await watch(client);
await collect(client);
await keepLibrary(client);
await setAvatar(client, await readFile(picture));
empty(await client.POST("/auth/logout", { body: { refresh_token } }));
failed(await client.GET("/users/me"), 401, "AUTH_ERROR");
