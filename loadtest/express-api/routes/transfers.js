// Large bodies, both ways, streamed: a chunk is in memory, never the whole.

import { createHash, randomUUID } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { Router } from 'express'
import { invalid, subject } from '../input.js'
import { Problem } from '../region-router.js'

/** 64 KiB of 0 to 255 over and over; downloads are made of it, so that a receiver can check them. */
const BLOCK = Buffer.from({ length: 65_536 }, (_, index) => index % 256)

export function transfers({ settings }) {
  const routes = Router()
  const most = settings.maxBodyBytes

  routes.post('/upload', async (req, res) => {
    const user = subject(req)
    if (Number(req.headers['content-length']) > most) throw tooLarge()
    const digest = createHash('sha256')
    let bytes = 0
    for await (const chunk of req) {
      bytes += chunk.length
      if (bytes > most) throw tooLarge()
      digest.update(chunk)
    }
    const [id, sha256] = [randomUUID(), digest.digest()]
    const { rowCount } = await req.db.query(
      `INSERT INTO uploads (id, user_id, content_type, bytes, sha256)
       SELECT $1, id, $3, $4, $5 FROM users WHERE id = $2`,
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

  /** The rest of the body is not read: the connection ends with the answer. */
  function tooLarge() {
    return new Problem(413, 'body-too-large', 'The body is too large', `At most ${most} bytes.`, { Connection: 'close' })
  }

  return routes
}

function* blocks(bytes) {
  for (let left = bytes; left > 0; left -= BLOCK.length) yield left < BLOCK.length ? BLOCK.subarray(0, left) : BLOCK
}
