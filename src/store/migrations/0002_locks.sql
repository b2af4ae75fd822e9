-- Tags that do not move, images that are not deleted, repositories that anybody may pull from.

ALTER TABLE repositories ADD COLUMN tag_mutability TEXT NOT NULL DEFAULT 'MUTABLE';
ALTER TABLE repositories ADD COLUMN is_public BIGINT NOT NULL DEFAULT 0;

-- What must not be deleted: a tag, a digest, or with an empty object the repository and all in it.
CREATE TABLE locks (
  repository BYTEA NOT NULL REFERENCES repositories (uid) ON DELETE CASCADE,
  object TEXT NOT NULL,
  reason TEXT NOT NULL,
  creator TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (repository, object)
);
