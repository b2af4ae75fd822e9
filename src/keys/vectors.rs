//! The vectors of `tests/vectors/envelope.json`, made by an independent program.
