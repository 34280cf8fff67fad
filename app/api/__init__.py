"""The native HTTP API: one file a resource. The shapes that go over the wire are in `app.schemas`."""
