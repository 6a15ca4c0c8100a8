-- The tables of one jurisdiction, the same in each; applied to its primary by `node schema.js URL`, any number of times.
-- Subjects are opaque text: what the token's `sub` holds is the key of users.
BEGIN;
SELECT pg_advisory_xact_lock(7261736468); -- CREATE … IF NOT EXISTS can still collide when two run at once.

CREATE TABLE IF NOT EXISTS users (
  id text PRIMARY KEY,
  email text NOT NULL,
  password text NOT NULL, -- scrypt$N$r$p$salt$hash
  name text NOT NULL,
  country char(2) NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS users_email ON users (lower(email));

CREATE TABLE IF NOT EXISTS orders (
  id uuid PRIMARY KEY,
  user_id text NOT NULL REFERENCES users (id),
  item text NOT NULL,
  quantity integer NOT NULL CHECK (quantity > 0),
  note text NOT NULL DEFAULT '',
  idempotency_key text,
  created_at timestamptz NOT NULL DEFAULT now(),
  UNIQUE (user_id, idempotency_key)
);
CREATE INDEX IF NOT EXISTS orders_of_user ON orders (user_id, created_at DESC, id);

CREATE TABLE IF NOT EXISTS uploads (
  id uuid PRIMARY KEY,
  user_id text NOT NULL REFERENCES users (id),
  content_type text NOT NULL,
  bytes bigint NOT NULL,
  sha256 bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS uploads_of_user ON uploads (user_id, created_at DESC);
COMMIT;
