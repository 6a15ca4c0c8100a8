// Large bodies, both ways, streamed: a chunk is in memory, never the whole.

import { createHash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Router } from 'express'
import { invalid, subject } from '../input.js'
import { Problem } from '../region-router.js'

/** 64 KiB of 0 to 255 over and over; downloads are made of it, so that a receiver can check them. */
const BLOCK = Buffer.from(Uint8Array.from({ length: 65_536 }, (_, index) => index))

/** How long the rest of a refused body may take before its connection is cut. */
const LINGER_MS = 2000

export function transfers({ settings }) {
  const routes = Router()
  const most = settings.maxBodyBytes

  routes.post('/upload', async (req, res) => {
    const user = subject(req)
    if (Number(req.headers['content-length']) > most) throw tooLarge(req)
    const digest = createHash('sha256')
    let bytes = 0
    for await (const chunk of req.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length
      if (bytes > most) break
      digest.update(chunk)
    }
    if (bytes > most) throw tooLarge(req)
    const [id, sha256] = [randomUUID(), digest.digest()]
    const { rowCount } = await req.db.query(
      `INSERT INTO uploads (id, user_id, content_type, bytes, sha256)
       SELECT $1::uuid, id, $3::text, $4::bigint, $5::bytea FROM users WHERE id = $2`,
      [id, user, (req.get('content-type') ?? 'application/octet-stream').slice(0, 200), bytes, sha256])
    if (rowCount === 0) throw new Problem(404, 'not-found', 'No such user here', 'The token\'s subject has no account in this jurisdiction.')
    res.answer(201, { id, bytes, sha256: sha256.toString('hex') })
  })

  routes.get('/download', async (req, res) => {
    const bytes = /^\d{1,15}$/.test(req.query.bytes ?? '') ? Number(req.query.bytes) : NaN
    if (!(bytes <= most)) throw invalid(`bytes must be a whole number, 0 to ${most}.`)
    res.set({ 'Content-Type': 'application/octet-stream', 'Content-Length': String(bytes), 'Cache-Control': 'no-store' })
    await pipeline(Readable.from(blocks(bytes), { objectMode: false }), res).catch((error) => {
      if (error.code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error // The client left; nobody is there to be told.
    })
  })

  function tooLarge(req) {
    // The rest is read and dropped, since a reset could overtake the answer; but not for long.
    req.resume()
    setTimeout(() => req.complete || req.socket.destroy(), LINGER_MS).unref()
    return new Problem(413, 'body-too-large', 'The body is too large', `At most ${most} bytes.`)
  }

  return routes
}

function* blocks(bytes) {
  for (let left = bytes; left > 0; left -= BLOCK.length) yield left < BLOCK.length ? BLOCK.subarray(0, left) : BLOCK
}
