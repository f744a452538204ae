"""Import of a viewer's list from a file of another site.

files.py            the bytes of a file: unpacked within bounds, and the site's format
entries.py          one entry of any site, or the reason why it can't be imported
myanimelist.py      MyAnimeList's export: the meaning of its rows, and a writer of it
myanimelist_xml.py  its XML as rows of texts
anilist.py          AniList's JSON
importing.py        entries against the library; the only one here that knows the database
"""
