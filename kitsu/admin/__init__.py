"""The admin site at /admin: pages for editors of the catalogue and for administrators."""
