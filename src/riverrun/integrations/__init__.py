"""riverrun's parts in other trainers: a module for each, imported by name, none of them here.

`riverrun.integrations.torch` needs nothing more than the base install; the others need the package they are named
after, and the extra of that name brings it.
"""
