"""One file per host program; nothing else in `infer` imports them."""
