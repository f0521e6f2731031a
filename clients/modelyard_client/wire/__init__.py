"""What goes over the wire, without sending it: one file a protocol, and what a refusal means in either."""
