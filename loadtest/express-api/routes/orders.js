// A user's orders: placing, listing, searching.

import { randomUUID } from 'node:crypto'
import { Router } from 'express'
import { count, invalid, json, subject, text } from '../input.js'
import { Problem } from '../region-router.js'

/** What clients see of an order, for SELECT and RETURNING. */
export const ORDER = 'id, item, quantity, note, created_at'
/** The channel on which new orders are announced: `{"user","order"}`, ids only. */
export const CHANNEL = 'orders_placed'

export function orders() {
  const routes = Router()

  routes.post('/orders', json, async (req, res) => {
    const user = subject(req)
    const key = req.get('idempotency-key') ?? null
    if (key !== null && !/^[\x21-\x7e]{1,100}$/.test(key)) throw invalid('Idempotency-Key must have 1 to 100 visible characters.')
    const { item, quantity, note } = {
      item: text(req, 'item', 200),
      quantity: count(req.body.quantity, 'quantity', 10_000, 1),
      note: text(req, 'note', 2000, ''),
    }
    // One statement, so one round trip: insert, and announce to every process that listens. The announcement goes out with
    // the commit. A repeated key inserts nothing; an unknown user inserts nothing either and is told so below.
    const { rows: [placed] } = await req.db.query(
      `WITH placed AS (
         INSERT INTO orders (id, user_id, item, quantity, note, idempotency_key)
         SELECT $1::uuid, u.id, $3::text, $4::integer, $5::text, $6::text FROM users u WHERE u.id = $2
         ON CONFLICT (user_id, idempotency_key) DO NOTHING
         RETURNING ${ORDER})
       SELECT placed.*, pg_notify('${CHANNEL}', json_build_object('user', $2::text, 'order', id)::text) AS announced FROM placed`,
      [randomUUID(), user, item, quantity, note, key])
    if (placed) {
      delete placed.announced
      return res.answer(201, placed)
    }
    const { rows: [before] } = key === null ? { rows: [] } : await req.db.query(
      `SELECT ${ORDER} FROM orders WHERE user_id = $1 AND idempotency_key = $2`, [user, key])
    if (!before) throw new Problem(404, 'not-found', 'No such user here', 'The token\'s subject has no account in this jurisdiction.')
    res.answer(200, before)
  })

  routes.get('/orders', async (req, res) => {
    const { rows } = await req.db.query(
      `SELECT ${ORDER} FROM orders WHERE user_id = $1 ORDER BY created_at DESC, id LIMIT $2`,
      [subject(req), count(req.query.limit, 'limit', 500, 50)])
    res.answer(200, { orders: rows })
  })

  routes.get('/orders/:id', async (req, res) => {
    const known = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(req.params.id)
    const { rows: [order] } = known ? await req.db.query(
      `SELECT ${ORDER} FROM orders WHERE user_id = $1 AND id = $2`, [subject(req), req.params.id]) : { rows: [] }
    if (!order) throw new Problem(404, 'not-found', 'No such order', 'It does not exist, or is another user\'s.')
    res.answer(200, order)
  })

  routes.post('/search', json, async (req, res) => {
    const wanted = `%${text(req, 'text', 200).replace(/[\\%_]/g, '\\$&')}%`
    const { rows } = await req.db.query(
      `SELECT ${ORDER} FROM orders WHERE user_id = $1 AND (item ILIKE $2 OR note ILIKE $2) ORDER BY created_at DESC, id LIMIT $3`,
      [subject(req), wanted, count(req.body.limit, 'limit', 500, 50)])
    res.answer(200, { orders: rows })
  })

  return routes
}
