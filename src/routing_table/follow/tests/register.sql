-- The part of a register that followers see, as the contract between its parts has it.
CREATE SCHEMA residency;
CREATE TABLE residency.jurisdiction (name text, home text, generation bigint, read_only boolean DEFAULT false);
CREATE TABLE residency.register_key (kind smallint, key_id text, current boolean, PRIMARY KEY (kind, key_id));
CREATE TABLE residency.register (
    hash bytea PRIMARY KEY, kind smallint NOT NULL DEFAULT 1, key_id text NOT NULL DEFAULT '', state text NOT NULL,
    generation bigint NOT NULL, toward text, move_id uuid, attempt int NOT NULL DEFAULT 0,
    claim_answers boolean NOT NULL DEFAULT false, floor_timeline int, floor_lsn pg_lsn,
    deleted boolean NOT NULL DEFAULT false, changed xid8 NOT NULL DEFAULT pg_current_xact_id());
CREATE INDEX register_changed ON residency.register (changed);
CREATE TABLE residency.gateway (name text PRIMARY KEY, region text, version text, certificate text, serving boolean);
CREATE TABLE residency.forgotten_certificate (certificate text PRIMARY KEY);
CREATE TABLE residency.gateway_report (gateway text, move_id uuid, attempt int, held boolean, drained boolean,
    PRIMARY KEY (gateway, move_id, attempt));

CREATE FUNCTION residency.before_write() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.changed := pg_current_xact_id();
    RETURN NEW;
END $$;
CREATE FUNCTION residency.tell() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    told text := json_build_object('hash', encode(NEW.hash, 'hex'), 'kind', NEW.kind,
        'state', NEW.state, 'generation', NEW.generation, 'toward', NEW.toward, 'move_id', NEW.move_id,
        'attempt', NEW.attempt, 'claim_answers', NEW.claim_answers, 'floor', CASE WHEN NEW.floor_lsn IS NULL THEN NULL
        ELSE json_build_array(NEW.floor_timeline, NEW.floor_lsn) END, 'deleted', NEW.deleted);
BEGIN
    PERFORM pg_notify('residency_register', told);
    IF NEW.kind = 2 OR NOT NEW.claim_answers THEN
        PERFORM pg_notify('residency_register_outside', told);
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER before_write BEFORE INSERT OR UPDATE ON residency.register
    FOR EACH ROW EXECUTE FUNCTION residency.before_write();
CREATE TRIGGER tell AFTER INSERT OR UPDATE ON residency.register FOR EACH ROW EXECUTE FUNCTION residency.tell();

CREATE FUNCTION residency.gateway_register(called text, stands_in text, runs text, shows text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM residency.forgotten_certificate f WHERE f.certificate = shows) THEN
        RAISE EXCEPTION 'forgotten' USING ERRCODE = 'RS005';
    END IF;
    INSERT INTO residency.gateway VALUES (called, stands_in, runs, shows, false)
    ON CONFLICT (name) DO UPDATE SET region = excluded.region, version = excluded.version,
        certificate = excluded.certificate;
END $$;
CREATE FUNCTION residency.gateway_heartbeat(called text, is_serving boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    UPDATE residency.gateway SET serving = is_serving WHERE name = called;
    RETURN FOUND;
END $$;
CREATE FUNCTION residency.gateway_leave(called text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM residency.gateway WHERE name = called;
    RETURN FOUND;
END $$;
CREATE FUNCTION residency.gateway_report(called text, move uuid, of_attempt integer, holds boolean, drained boolean)
RETURNS boolean LANGUAGE sql AS $$
    INSERT INTO residency.gateway_report AS r VALUES (called, move, of_attempt, holds, drained)
    ON CONFLICT (gateway, move_id, attempt) DO UPDATE SET drained = r.drained OR excluded.drained;
    SELECT true
$$;
