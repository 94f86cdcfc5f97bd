"""Erasure of a person's key: from the lake, from landing, and for good.

Belongs here: recognising a key without knowing it, leaving its rows out, erasing them. Does not belong here: the list of erasures (lake.erasures).
"""
