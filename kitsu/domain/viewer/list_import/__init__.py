"""Bringing a viewer's list in from a file of another site, and out again.

files.py            a file's bytes: unpacked within bounds, and of which site they are
entries.py          one entry of a list, whatever the site, or why there is none
myanimelist.py      MyAnimeList's export: what its rows mean, and how they are written
myanimelist_xml.py  its XML as rows of texts
anilist.py          AniList's JSON
importing.py        entries against the library; the only one here that knows the database
"""
