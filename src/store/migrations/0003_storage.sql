-- What the collector and the scrubber did, and what is set aside because its stored bytes are damaged.

-- Since when an object is known to be damaged: it is not served, not linked again, and kept until its links are repaired.
ALTER TABLE blobs ADD COLUMN quarantined_at BIGINT;
CREATE INDEX blobs_verified ON blobs (verified_at, uid);

-- A repository's blob whose object is damaged, and what became of it.
CREATE TABLE quarantines (
  blob BYTEA NOT NULL,
  repository BYTEA NOT NULL REFERENCES repositories (uid) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  size BIGINT NOT NULL,
  reason TEXT NOT NULL,
  quarantined_at BIGINT NOT NULL,
  tried_at BIGINT,
  last_error TEXT,
  repaired_at BIGINT,
  repaired_from TEXT,
  PRIMARY KEY (blob, repository)
);
CREATE INDEX quarantines_time ON quarantines (quarantined_at, blob, repository);
CREATE INDEX quarantines_content ON quarantines (repository, digest);

-- Runs of the collector that did something; the newest are kept.
CREATE TABLE collections (
  id BYTEA NOT NULL PRIMARY KEY,
  started_at BIGINT NOT NULL,
  took BIGINT NOT NULL,
  uploads BIGINT NOT NULL,
  links BIGINT NOT NULL,
  condemned BIGINT NOT NULL,
  objects BIGINT NOT NULL,
  bytes BIGINT NOT NULL,
  errors BIGINT NOT NULL,
  last_error TEXT
);
CREATE INDEX collections_time ON collections (started_at, id);

-- Sums over all runs, those that are no longer kept included.
CREATE TABLE counters (
  name TEXT NOT NULL PRIMARY KEY,
  value BIGINT NOT NULL
);

-- Work that one node of a region does at a time.
CREATE TABLE leases (
  name TEXT NOT NULL PRIMARY KEY,
  owner BYTEA NOT NULL,
  held_until BIGINT NOT NULL
);
