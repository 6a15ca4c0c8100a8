
CREATE FUNCTION residency.refuse_truncate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'residency.% cannot be truncated: followers would not see it', TG_TABLE_NAME
        USING ERRCODE = 'RS002';
END $$;

CREATE FUNCTION residency.register_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF NEW.generation < OLD.generation THEN
            RAISE EXCEPTION 'the generation of a register entry never falls (% to %)', OLD.generation, NEW.generation
                USING ERRCODE = 'RS002';
        END IF;
        IF NEW.hash <> OLD.hash OR NEW.kind <> OLD.kind OR NEW.key_id <> OLD.key_id THEN
            RAISE EXCEPTION 'a register entry keeps its hash, its kind and its key' USING ERRCODE = 'RS002';
        END IF;
        IF NEW.deleted <> OLD.deleted AND NEW.generation = OLD.generation THEN
            NEW.generation := OLD.generation + 1;
        END IF;
        -- Who stands outside has seen it since it was false, and would not see it go. And an entry that was given another state or
        -- generation says what no claim does, whoever did it.
        NEW.claim_answers := NEW.claim_answers AND OLD.claim_answers
            AND (NEW.deleted <> OLD.deleted OR (NEW.state, NEW.generation) = (OLD.state, OLD.generation));
    END IF;
    NEW.changed := pg_current_xact_id();
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$;

-- The first deletion leaves a tombstone; deleting the tombstone removes it.
CREATE FUNCTION residency.register_before_delete() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF OLD.deleted THEN
        RETURN OLD;
    END IF;
    UPDATE residency.register SET deleted = true WHERE hash = OLD.hash;
    RETURN NULL;
END $$;

-- Gateways outside the jurisdiction's regions listen to the second channel: of what the claim answers nothing is sent there,
-- not even a hash. A row of which they have been told never becomes such a one again (before_write).
CREATE FUNCTION residency.register_tell() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    -- Every part is bounded by the table's checks: some hundred bytes, far from the 8,000 a notification may have.
    told text := json_build_object(
        'hash', encode(NEW.hash, 'hex'), 'kind', NEW.kind, 'state', NEW.state, 'generation', NEW.generation,
        'toward', NEW.toward, 'move_id', NEW.move_id, 'attempt', NEW.attempt, 'claim_answers', NEW.claim_answers,
        'floor', CASE WHEN NEW.floor_lsn IS NULL THEN NULL
                      ELSE json_build_array(NEW.floor_timeline, NEW.floor_lsn) END,
        'deleted', NEW.deleted);
BEGIN
    PERFORM pg_notify('residency_register', told);
    IF NEW.kind = 2 OR NOT NEW.claim_answers THEN
        PERFORM pg_notify('residency_register_outside', told);
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION residency.jurisdiction_before_write() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        RAISE EXCEPTION 'the jurisdiction row is never deleted: its generation would be forgotten'
            USING ERRCODE = 'RS002';
    END IF;
    IF TG_OP = 'UPDATE' THEN
        IF NEW.generation < OLD.generation THEN
            RAISE EXCEPTION 'the generation of a jurisdiction never falls (% to %)', OLD.generation, NEW.generation
                USING ERRCODE = 'RS002';
        END IF;
        IF NEW.home <> OLD.home AND NEW.generation = OLD.generation THEN
            RAISE EXCEPTION 'another home needs a higher generation than %', OLD.generation USING ERRCODE = 'RS002';
        END IF;
        IF NEW.name <> OLD.name THEN
            RAISE EXCEPTION 'a jurisdiction keeps its name' USING ERRCODE = 'RS002';
        END IF;
    END IF;
    NEW.changed_at := clock_timestamp();
    RETURN NEW;
END $$;

CREATE FUNCTION residency.jurisdiction_tell() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told jsonb := to_jsonb(NEW);
BEGIN
    -- A transaction that tells waits at its end for every other that does, and these may be waiting for a standby that never
    -- comes back. Whoever is about to end that wait says so, and tells afterwards.
    IF current_setting('residency.tell_later', true) = 'on' THEN
        RETURN NULL;
    END IF;
    -- A notification has less than 8,000 bytes; the oldest history is what a listener can do without.
    WHILE octet_length(told::text) >= 8000 AND jsonb_array_length(told -> 'history') > 0 LOOP
        told := jsonb_set(told, '{history}', (told -> 'history') - 0);
    END LOOP;
    IF octet_length(told::text) >= 8000 THEN
        told := told - 'synchronous';
    END IF;
    PERFORM pg_notify('residency_jurisdiction', told::text);
    RETURN NULL;
END $$;

CREATE TRIGGER before_write BEFORE INSERT OR UPDATE ON residency.register
    FOR EACH ROW EXECUTE FUNCTION residency.register_before_write();
CREATE TRIGGER before_delete BEFORE DELETE ON residency.register
    FOR EACH ROW EXECUTE FUNCTION residency.register_before_delete();
CREATE TRIGGER tell AFTER INSERT OR UPDATE ON residency.register
    FOR EACH ROW EXECUTE FUNCTION residency.register_tell();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON residency.register
    FOR EACH STATEMENT EXECUTE FUNCTION residency.refuse_truncate();
CREATE TRIGGER before_write BEFORE INSERT OR UPDATE OR DELETE ON residency.jurisdiction
    FOR EACH ROW EXECUTE FUNCTION residency.jurisdiction_before_write();
CREATE TRIGGER tell AFTER INSERT OR UPDATE ON residency.jurisdiction
    FOR EACH ROW EXECUTE FUNCTION residency.jurisdiction_tell();
CREATE TRIGGER no_truncate BEFORE TRUNCATE ON residency.jurisdiction
    FOR EACH STATEMENT EXECUTE FUNCTION residency.refuse_truncate();

-- Also for apply workers and for who sets session_replication_role.
ALTER TABLE residency.register ENABLE ALWAYS TRIGGER before_write;
ALTER TABLE residency.register ENABLE ALWAYS TRIGGER before_delete;
ALTER TABLE residency.register ENABLE ALWAYS TRIGGER tell;
ALTER TABLE residency.register ENABLE ALWAYS TRIGGER no_truncate;
ALTER TABLE residency.jurisdiction ENABLE ALWAYS TRIGGER before_write;
ALTER TABLE residency.jurisdiction ENABLE ALWAYS TRIGGER tell;
ALTER TABLE residency.jurisdiction ENABLE ALWAYS TRIGGER no_truncate;
