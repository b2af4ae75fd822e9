-- Policies by name: those of accounts, what they are attached to, and the organization's bounds on its accounts.

CREATE TABLE managed_policies (
  account TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  updated_at BIGINT NOT NULL,
  PRIMARY KEY (account, name)
);

-- The policy is one of the principal's own account.
CREATE TABLE attachments (
  unique_id TEXT NOT NULL,
  purpose TEXT NOT NULL,
  policy TEXT NOT NULL,
  PRIMARY KEY (unique_id, purpose, policy)
);
CREATE INDEX attachments_policy ON attachments (policy);

-- The target is an account's number, or 'organization'.
CREATE TABLE control_policies (
  target TEXT NOT NULL,
  kind TEXT NOT NULL,
  name TEXT NOT NULL,
  document TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (target, kind, name)
);
