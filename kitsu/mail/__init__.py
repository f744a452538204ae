"""Mails: their text from templates, and how they are sent.

messages.py    a mail from its templates
transports.py  the ways to send a mail, by the scheme of MAIL_URL
smtp.py        a mail server; only processes that send mails to one import it
mailer.py      both together, from the settings
templates/     a folder for each language
"""
