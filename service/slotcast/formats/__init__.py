"""How records are written: JSON, MessagePack or Avro, as `[schema] format` says."""
