"""Samples: public data sets, landed the way a data source would land them.

Belongs here: loaders that write files below `landing/`, and every word of the sample's own business. Does not belong here: anything that
the platform needs when it runs on other data.
"""
