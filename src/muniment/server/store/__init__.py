"""Object stores: where sealed packs and other immutable objects lie."""
