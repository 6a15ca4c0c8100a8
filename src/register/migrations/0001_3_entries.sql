
-- Refuses a key that the register doesn't know: hashes under it would meet no others.
CREATE FUNCTION residency.require_key(of_kind smallint, id text) RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM residency.register_key k WHERE k.kind = of_kind AND k.key_id = id) THEN
        RAISE EXCEPTION 'the register knows no % key %',
            CASE of_kind WHEN 1 THEN 'subject' ELSE 'identifier' END, coalesce(id, 'null')
            USING ERRCODE = 'RS004', HINT = 'residency-migrate schema apply registers configured keys';
    END IF;
END $$;

CREATE FUNCTION residency.require_writable() RETURNS void
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF (SELECT j.read_only FROM residency.jurisdiction j) THEN
        RAISE EXCEPTION 'this jurisdiction is read-only' USING ERRCODE = 'RS003';
    END IF;
END $$;

-- Makes a subject at home here, and identifiers its own; what is so already stays. In one round trip, and the same
-- however often it is asked. While keys are being replaced a caller gives each hash under both keys, and both rows are
-- written, so that who knows only one of them still finds it and no identifier is given away twice.
--
-- An identifier that is another subject's: RS001, DETAIL {"identifier": hex, "owner": hex}, and nothing has changed.
-- A subject whose rows are not here and open (closing, fenced, gone, closed, void) is answered as it stands, and
-- nothing has changed.
CREATE FUNCTION residency.assign(
    subject bytea, subject_key text, identifiers bytea[] DEFAULT '{}', identifier_key text DEFAULT NULL,
    other_subject bytea DEFAULT NULL, other_subject_key text DEFAULT NULL,
    other_identifiers bytea[] DEFAULT '{}', other_identifier_key text DEFAULT NULL)
RETURNS TABLE (state text, generation bigint, toward text, created boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    entry residency.register;
    held  residency.register;
    one   record;
BEGIN
    IF cardinality(identifiers) + cardinality(other_identifiers) > 64 THEN
        RAISE EXCEPTION 'at most 32 identifiers at a time' USING ERRCODE = 'RS002';
    END IF;
    PERFORM residency.require_key(1::smallint, subject_key);
    IF other_subject IS NOT NULL THEN
        PERFORM residency.require_key(1::smallint, other_subject_key);
    END IF;
    IF cardinality(identifiers) > 0 THEN
        PERFORM residency.require_key(2::smallint, identifier_key);
    END IF;
    IF cardinality(other_identifiers) > 0 THEN
        PERFORM residency.require_key(2::smallint, other_identifier_key);
    END IF;

    -- Always in the order of hashes, so that no two callers wait for each other.
    FOR held IN
        SELECT r.* FROM residency.register r WHERE r.hash IN (subject, other_subject) ORDER BY r.hash FOR UPDATE
    LOOP
        IF NOT held.deleted AND (entry.hash IS NULL OR held.generation > entry.generation) THEN
            entry := held;
        END IF;
    END LOOP;
    created := entry.hash IS NULL;
    IF created THEN
        PERFORM residency.require_writable();
    END IF;
    FOR one IN
        SELECT s.hash, s.key FROM (VALUES (subject, subject_key), (other_subject, other_subject_key)) AS s (hash, key)
        WHERE s.hash IS NOT NULL ORDER BY s.hash
    LOOP
        -- Another's insertion is waited for here; then its row stands.
        INSERT INTO residency.register AS r (hash, kind, key_id, state, generation, toward, move_id, attempt,
            claim_answers, floor_timeline, floor_lsn)
        VALUES (one.hash, 1, one.key, coalesce(entry.state, 'home'), coalesce(entry.generation, 1), entry.toward,
            entry.move_id, coalesce(entry.attempt, 0), coalesce(entry.claim_answers, true),
            entry.floor_timeline, entry.floor_lsn)
        ON CONFLICT (hash) DO UPDATE SET state = excluded.state,
            generation = greatest(excluded.generation, r.generation + 1), toward = excluded.toward,
            move_id = excluded.move_id, attempt = excluded.attempt, floor_timeline = excluded.floor_timeline,
            floor_lsn = excluded.floor_lsn, deleted = false
        WHERE r.deleted;
        IF one.hash = subject AND NOT FOUND THEN
            created := false;
        END IF;
    END LOOP;

    SELECT r.* INTO STRICT entry FROM residency.register r WHERE r.hash = subject FOR UPDATE;
    IF entry.kind <> 1 THEN
        RAISE EXCEPTION 'this hash is an identifier''s, not a subject''s' USING ERRCODE = 'RS002';
    END IF;
    state := entry.state;
    generation := entry.generation;
    toward := entry.toward;
    IF entry.state NOT IN ('home', 'pending') THEN
        created := false;
        RETURN NEXT;
        RETURN;
    END IF;

    FOR one IN
        SELECT i.hash, identifier_key AS key, subject AS owner FROM unnest(identifiers) AS i (hash)
        UNION
        SELECT i.hash, other_identifier_key, coalesce(other_subject, subject)
        FROM unnest(other_identifiers) AS i (hash)
        ORDER BY 1
    LOOP
        INSERT INTO residency.register (hash, kind, key_id, state, generation, subject)
        VALUES (one.hash, 2, one.key, 'home', 1, one.owner)
        ON CONFLICT (hash) DO NOTHING;
        IF FOUND THEN
            PERFORM residency.require_writable();
            CONTINUE;
        END IF;
        SELECT r.* INTO STRICT held FROM residency.register r WHERE r.hash = one.hash FOR UPDATE;
        IF held.kind <> 2 THEN
            RAISE EXCEPTION 'this hash is a subject''s, not an identifier''s' USING ERRCODE = 'RS002';
        ELSIF held.deleted THEN
            PERFORM residency.require_writable();
            UPDATE residency.register r SET state = 'home', generation = r.generation + 1, subject = one.owner,
                toward = NULL, move_id = NULL, attempt = 0, deleted = false
            WHERE r.hash = one.hash;
        ELSIF held.subject <> subject AND held.subject IS DISTINCT FROM other_subject THEN
            RAISE EXCEPTION 'an identifier belongs to another subject' USING ERRCODE = 'RS001',
                DETAIL = json_build_object('identifier', encode(one.hash, 'hex'),
                    'owner', encode(held.subject, 'hex'))::text;
        END IF;
    END LOOP;
    RETURN NEXT;
END $$;

-- Gives up identifiers of a subject (hashes under every key in use), for instance after its address has changed.
-- Without a list: the subject itself and all it has, when it was assigned here and never moved, for instance because
-- its sign-up was broken off. Answers how many rows have become tombstones.
CREATE FUNCTION residency.release(subjects bytea[], identifiers bytea[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    held     residency.register;
    released bigint;
BEGIN
    PERFORM residency.require_writable();
    FOR held IN
        SELECT r.* FROM residency.register r WHERE r.hash = ANY (subjects) AND r.kind = 1 AND NOT r.deleted
        ORDER BY r.hash FOR UPDATE
    LOOP
        IF identifiers IS NULL AND NOT (held.state = 'home' AND held.claim_answers) THEN
            RAISE EXCEPTION 'a subject that has moved, or is to, is not released' USING ERRCODE = 'RS006',
                DETAIL = json_build_object('state', held.state)::text;
        ELSIF held.state NOT IN ('home', 'pending') THEN
            RAISE EXCEPTION 'the subject is moving or not here' USING ERRCODE = 'RS006',
                DETAIL = json_build_object('state', held.state)::text;
        END IF;
    END LOOP;
    UPDATE residency.register r SET deleted = true
    WHERE NOT r.deleted AND ((r.kind = 2 AND r.subject = ANY (subjects)
            AND (identifiers IS NULL OR r.hash = ANY (identifiers)))
        OR (r.kind = 1 AND r.hash = ANY (subjects) AND identifiers IS NULL));
    GET DIAGNOSTICS released = ROW_COUNT;
    RETURN released;
END $$;

-- Notes that a subject's rows are here and belong elsewhere. `key` is needed for one that the register doesn't have yet,
-- because its claim answered for it.
CREATE FUNCTION residency.mark_pending(subject bytea, to_jurisdiction text, key text DEFAULT NULL)
RETURNS TABLE (state text, generation bigint, toward text)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
    held residency.register;
BEGIN
    IF to_jurisdiction IS NULL OR to_jurisdiction = (SELECT j.name FROM residency.jurisdiction j) THEN
        RAISE EXCEPTION 'a subject is pending toward another jurisdiction, not its own' USING ERRCODE = 'RS002';
    END IF;
    IF key IS NOT NULL THEN
        PERFORM residency.require_key(1::smallint, key);
        INSERT INTO residency.register (hash, kind, key_id, state, generation, toward)
        VALUES (subject, 1, key, 'pending', 1, to_jurisdiction)
        ON CONFLICT (hash) DO NOTHING;
    END IF;
    SELECT r.* INTO held FROM residency.register r WHERE r.hash = subject AND r.kind = 1 FOR UPDATE;
    IF NOT FOUND OR (held.deleted AND key IS NULL) THEN
        RAISE EXCEPTION 'the register has no such subject' USING ERRCODE = 'RS006';
    END IF;
    IF NOT held.deleted AND held.state NOT IN ('home', 'pending') THEN
        RAISE EXCEPTION 'the subject is moving or not here' USING ERRCODE = 'RS006',
            DETAIL = json_build_object('state', held.state)::text;
    END IF;
    IF held.deleted OR held.state <> 'pending' OR held.toward IS DISTINCT FROM to_jurisdiction THEN
        UPDATE residency.register r SET state = 'pending', toward = to_jurisdiction, generation = r.generation + 1,
            claim_answers = false, deleted = false
        WHERE r.hash = subject RETURNING r.* INTO held;
    END IF;
    RETURN QUERY SELECT held.state, held.generation, held.toward;
END $$;

-- What changed in transactions from `since` on (`cursor`'s xmin, of before). Outside the jurisdiction's lawful regions
-- nothing is shown that the claim answers.
CREATE FUNCTION residency.changes_since(since xid8, outside boolean) RETURNS SETOF residency.register
LANGUAGE sql STABLE AS $$
    SELECT r.* FROM residency.register r WHERE r.changed >= since AND NOT (outside AND r.claim_answers)
$$;

-- Where a follower has to go on from: every transaction below xmin has ended and can be seen. Another system identifier
-- or timeline means that everything has to be read again: after a promotion new changes may have lower numbers.
CREATE FUNCTION residency.cursor(OUT system_identifier bigint, OUT timeline integer, OUT xmin xid8)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT (SELECT c.system_identifier FROM pg_control_system() c),
        CASE WHEN pg_is_in_recovery()
             THEN coalesce((SELECT r.received_tli FROM pg_stat_wal_receiver r),
                 greatest((SELECT c.timeline_id FROM pg_control_checkpoint() c),
                          (SELECT c.min_recovery_end_timeline FROM pg_control_recovery() c)))
             ELSE ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::integer END,
        pg_snapshot_xmin(pg_current_snapshot())
$$;
