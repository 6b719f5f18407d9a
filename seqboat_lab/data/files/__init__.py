"""The only room that touches the network and archives; files that land whole or not at all."""
