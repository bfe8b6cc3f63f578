"""The deep tier of an audit in real Apache."""
