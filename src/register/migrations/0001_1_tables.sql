-- The register of one jurisdiction, beside its data: who is at home here, moving, or gone.
--
-- What holds whoever writes (a job, a gateway, psql), because triggers hold it that fire always:
--   a generation never falls; every change is stamped with its transaction and told to who listens;
--   a deletion leaves a tombstone, which followers can see; nothing is truncated.
--
-- SQLSTATEs of refusals: RS001 an identifier belongs to another subject, RS002 a rule of the register itself,
-- RS003 the jurisdiction is read-only, RS004 a key the register doesn't know, RS005 a certificate that was forgotten,
-- RS006 the subject's state doesn't allow it.

CREATE TABLE residency.schema_version (
    version     integer     PRIMARY KEY CHECK (version > 0),
    name        text        NOT NULL,
    checksum    text        NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE residency.jurisdiction (
    name        text        NOT NULL CHECK (name <> '' AND octet_length(name) <= 255),
    home        text        NOT NULL CHECK (home <> '' AND octet_length(home) <= 255),
    generation  bigint      NOT NULL CHECK (generation > 0),
    read_only   boolean     NOT NULL DEFAULT false,
    durability  text        NOT NULL CHECK (durability IN ('async', 'remote')),
    synchronous text[]      NOT NULL DEFAULT '{}',
    -- [{timeline, lsn, generation, from, to, at, reason}], oldest first.
    history     jsonb       NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(history) = 'array'),
    changed_at  timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE UNIQUE INDEX jurisdiction_is_one ON residency.jurisdiction ((true));

CREATE TABLE residency.register_key (
    kind    smallint NOT NULL CHECK (kind IN (1, 2)),
    key_id  text     NOT NULL CHECK (key_id ~ '^[0-9a-f]{8}$'),
    current boolean  NOT NULL,
    PRIMARY KEY (kind, key_id)
);
CREATE UNIQUE INDEX register_key_is_current_once ON residency.register_key (kind) WHERE current;

CREATE TABLE residency.register (
    hash           bytea       PRIMARY KEY CHECK (octet_length(hash) = 16),
    kind           smallint    NOT NULL CHECK (kind IN (1, 2)),
    key_id         text        NOT NULL,
    state          text        NOT NULL
        CHECK (state IN ('home', 'pending', 'closing', 'fenced', 'gone', 'closed', 'void')),
    generation     bigint      NOT NULL CHECK (generation > 0),
    toward         text        CHECK (toward <> '' AND octet_length(toward) <= 255),
    move_id        uuid,
    attempt        integer     NOT NULL DEFAULT 0 CHECK (attempt >= 0),
    -- Assigned here and never moved: the claim says the same.
    claim_answers  boolean     NOT NULL DEFAULT false,
    -- Of an identifier: whose it is.
    subject        bytea       CHECK (octet_length(subject) = 16),
    floor_timeline integer,
    floor_lsn      pg_lsn,
    deleted        boolean     NOT NULL DEFAULT false,
    changed        xid8        NOT NULL DEFAULT pg_current_xact_id(),
    changed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    FOREIGN KEY (kind, key_id) REFERENCES residency.register_key,
    CHECK ((kind = 2) = (subject IS NOT NULL)),
    CHECK ((floor_timeline IS NULL) = (floor_lsn IS NULL))
);
CREATE INDEX register_changed ON residency.register (changed);
CREATE INDEX register_subject ON residency.register (subject) WHERE kind = 2;
CREATE INDEX register_key_id ON residency.register (kind, key_id, hash);

CREATE TABLE residency.gateway (
    name          text        PRIMARY KEY CHECK (name <> '' AND octet_length(name) <= 255),
    region        text        NOT NULL,
    version       text        NOT NULL,
    -- SHA-256 of its internal certificate, in hex.
    certificate   text,
    registered_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    serving       boolean     NOT NULL DEFAULT false,
    forgotten     boolean     NOT NULL DEFAULT false
);

CREATE TABLE residency.gateway_report (
    gateway    text        NOT NULL REFERENCES residency.gateway ON DELETE CASCADE,
    move_id    uuid        NOT NULL,
    attempt    integer     NOT NULL,
    held_at    timestamptz,
    drained_at timestamptz,
    PRIMARY KEY (gateway, move_id, attempt)
);
CREATE INDEX gateway_report_move ON residency.gateway_report (move_id, attempt);

-- Certificates whose gateways were forgotten; nobody lets their bearers in again.
CREATE TABLE residency.forgotten_certificate (
    certificate  text        PRIMARY KEY,
    gateway      text        NOT NULL,
    forgotten_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    by           text        NOT NULL
);

-- What somebody decided and answers for by name.
CREATE TABLE residency.act (
    id     bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind   text        NOT NULL CHECK (kind <> ''),
    detail jsonb       NOT NULL DEFAULT '{}',
    by     text        NOT NULL CHECK (by <> '')
);
