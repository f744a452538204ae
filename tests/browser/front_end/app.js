// A front end as small as it can be: it uses the API of accounts as docs/accounts.md describes it.
const api = new URLSearchParams(location.search).get("api") || sessionStorage.api;
sessionStorage.api = api;
const address = new URL(location.href);
const token = address.searchParams.get("token");

async function call(method, path, body) {
  const headers = { "Content-Type": "application/json" };
  if (sessionStorage.access_token) headers.Authorization = `Bearer ${sessionStorage.access_token}`;
  const options = { method, headers, credentials: "include", body: body && JSON.stringify(body) };
  const response = await fetch(api + path, options);
  const text = await response.text();
  const found = { status: response.status, ...(text && JSON.parse(text)) };
  document.getElementById("result").textContent = `${method} ${path.split("?")[0]} ${found.status} ${found.code || ""}`;
  return found;
}

async function keep(tokens) {
  if (tokens.code === "SECOND_FACTOR_REQUIRED") sessionStorage.challenge = tokens.challenge;
  if (tokens.access_token) {
    sessionStorage.access_token = tokens.access_token;
    sessionStorage.refresh_token = tokens.refresh_token;
  }
  await showUser();
}

function showQuery() {
  document.getElementById("result").textContent = address.searchParams.toString();
}

async function showUser() {
  const state = document.getElementById("state");
  state.textContent = "signed out";
  if (!sessionStorage.access_token) return;
  const result = document.getElementById("result").textContent;
  const me = await call("GET", "/users/me");
  document.getElementById("result").textContent = result;
  if (me.status === 200) state.textContent = `${me.email} ${me.email_verified ? "verified" : "unverified"}`;
}

const actions = {
  register: async (fields) => keep(await call("POST", "/auth/register", fields)),
  login: async (fields) => keep(await call("POST", "/auth/login", fields)),
  code: async (fields) =>
    keep(await call("POST", "/auth/login/second-factor", { challenge: sessionStorage.challenge, ...fields })),
  forgot: (fields) => call("POST", "/auth/password/forgot", fields),
  reset: async (fields) => {
    await call("POST", "/auth/password/reset", { token, ...fields });
    await showUser();
  },
  change: (fields) => call("PATCH", "/users/me/email", fields),
  totp: async (fields) => {
    sessionStorage.secret = (await call("POST", "/auth/second-factor/totp", fields)).secret;
  },
  confirm: async (fields) => {
    const { recovery_codes } = await call("POST", "/auth/second-factor/totp/confirm", fields);
    sessionStorage.recovery_code = recovery_codes[0];
  },
  logout: async () => {
    await call("POST", "/auth/logout", { refresh_token: sessionStorage.refresh_token });
    delete sessionStorage.access_token;
    await showUser();
  },
  link: async () => {
    const { url } = await call("POST", "/auth/oidc/test/link?redirect_to=/links");
    if (url) location.assign(url);
  },
  provider: () => location.assign(`${api}/auth/oidc/test/start?redirect_to=/signed-in`),
};

for (const form of document.forms) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    actions[form.dataset.action](Object.fromEntries(new FormData(form)));
  });
}

// The pages to which links lead.
const pages = {
  "/verify-email": () => call("POST", "/auth/verify", { token }),
  "/confirm-email": () => call("POST", "/auth/email/confirm", { token }),
  "/revert-email": () => call("POST", "/auth/email/revert", { token }),
  "/signed-in": async () => {
    const code = address.searchParams.get("code");
    if (code) await keep(await call("POST", "/auth/oidc/token", { code }));
    else showQuery();
  },
  "/links": showQuery,
};

async function start() {
  if (pages[location.pathname]) await pages[location.pathname]();
  await showUser();
}

if (api) start();
