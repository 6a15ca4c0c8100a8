
CREATE FUNCTION residency.record_act(what text, about jsonb, who text) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO residency.act (kind, detail, by) VALUES (what, about, who) RETURNING id
$$;

CREATE FUNCTION residency.set_read_only(on_or_off boolean, who text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE residency.jurisdiction j SET read_only = on_or_off WHERE j.read_only <> on_or_off;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM residency.record_act('read-only', jsonb_build_object('read_only', on_or_off), who);
    RETURN true;
END $$;

-- A gateway registers, then loads, then serves. Its name is its own: two at once under one name would count as one.
CREATE FUNCTION residency.gateway_register(called text, stands_in text, runs text, shows text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM residency.forgotten_certificate f WHERE f.certificate = shows) THEN
        RAISE EXCEPTION 'the certificate of gateway % was forgotten', called USING ERRCODE = 'RS005',
            HINT = 'residency-migrate pki rotate makes a new one';
    END IF;
    INSERT INTO residency.gateway (name, region, version, certificate) VALUES (called, stands_in, runs, shows)
    ON CONFLICT (name) DO UPDATE SET region = excluded.region, version = excluded.version,
        certificate = excluded.certificate, registered_at = clock_timestamp(), heartbeat_at = clock_timestamp(),
        serving = false, forgotten = false;
END $$;

-- False: it isn't registered (any more), and has to begin anew.
CREATE FUNCTION residency.gateway_heartbeat(called text, is_serving boolean) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    UPDATE residency.gateway g SET heartbeat_at = clock_timestamp(), serving = is_serving
    WHERE g.name = called AND NOT g.forgotten;
    RETURN FOUND;
END $$;

CREATE FUNCTION residency.gateway_leave(called text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM residency.gateway g WHERE g.name = called AND NOT g.forgotten;
    RETURN FOUND;
END $$;

-- What a gateway has done for one attempt at a move. False: it isn't registered (any more).
CREATE FUNCTION residency.gateway_report(called text, move uuid, of_attempt integer, holds boolean, drained boolean)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM FROM residency.gateway g WHERE g.name = called AND NOT g.forgotten FOR SHARE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO residency.gateway_report AS r (gateway, move_id, attempt, held_at, drained_at)
    VALUES (called, move, of_attempt, CASE WHEN holds THEN clock_timestamp() END,
        CASE WHEN drained THEN clock_timestamp() END)
    ON CONFLICT (gateway, move_id, attempt) DO UPDATE
        SET held_at = coalesce(r.held_at, excluded.held_at), drained_at = coalesce(r.drained_at, excluded.drained_at);
    RETURN true;
END $$;

-- No move waits for it any more, and its certificate is let in nowhere. Null: there is none of this name.
CREATE FUNCTION residency.gateway_forget(called text, who text) RETURNS residency.gateway
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    gone residency.gateway;
BEGIN
    UPDATE residency.gateway g SET forgotten = true, serving = false WHERE g.name = called
    RETURNING g.* INTO gone;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF gone.certificate IS NOT NULL THEN
        INSERT INTO residency.forgotten_certificate (certificate, gateway, by)
        VALUES (gone.certificate, called, who)
        ON CONFLICT (certificate) DO NOTHING;
    END IF;
    PERFORM residency.record_act('forget', jsonb_build_object('gateway', called, 'region', gone.region,
        'certificate', gone.certificate), who);
    RETURN gone;
END $$;

REVOKE ALL ON SCHEMA residency FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA residency FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA residency FROM PUBLIC;
