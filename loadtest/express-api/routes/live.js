// GET /live: a WebSocket that echoes, and tells of the user's new orders, whichever process of the region took them.
//
// One connection per jurisdiction listens (LISTEN) for all sockets of this process; it opens with the first and ends with
// the last. If it breaks, its sockets close with 1012 so that clients come back: an order could have been missed.

import { WebSocketServer } from 'ws'
import { subject } from '../input.js'
import { Problem } from '../region-router.js'
import { CHANNEL, ORDER } from './orders.js'

/** A message a client may send, bytes. */
const MAX_MESSAGE = 65_536
/** A client that takes no data is cut when this much waits for it, bytes. */
const MAX_UNSENT = 1_048_576
/** A client that answers no ping for one to two of these is gone, ms. */
const PING_MS = 30_000
/** A feed that is this many orders behind ends, and its clients start afresh. */
const MAX_BEHIND = 10_000

export function live(settings, residency, log) {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE })
  const feeds = new Map() // jurisdiction → Feed
  let draining = false
  const heartbeat = setInterval(() => {
    for (const socket of server.clients) {
      if (!socket.answered) socket.terminate()
      socket.answered = false
      socket.ping()
    }
  }, PING_MS).unref()

  function send(socket, message) {
    if (socket.bufferedAmount > MAX_UNSENT) return socket.terminate()
    socket.send(JSON.stringify({ ...message, served_by: settings.region }))
  }

  function feedOf(req) {
    const { jurisdiction } = req.residency
    if (!feeds.has(jurisdiction)) {
      const onEnd = (ended) => feeds.get(jurisdiction) === ended && feeds.delete(jurisdiction)
      feeds.set(jurisdiction, new Feed(req.db, send, onEnd, log))
    }
    return feeds.get(jurisdiction)
  }

  function upgrade(req, socket, head) {
    socket.on('error', () => socket.destroy()) // A reset by the client is no fault of ours.
    return residency.upgrade(req, socket, async () => {
      const user = subject(req)
      if (new URL(req.url, 'http://api').pathname !== '/live') {
        throw new Problem(404, 'not-found', 'There is no such endpoint', 'WebSockets are at /live.')
      }
      if (draining) throw new Problem(503, 'draining', 'This process is stopping', 'Connect again.', { 'Retry-After': '1' })
      const feed = feedOf(req)
      const release = await feed.hold()
      if (socket.destroyed) return release()
      server.handleUpgrade(req, socket, head, (client) => attach(client, feed, user)) // At once, or a 400 of its own.
      release()
    })
  }

  function attach(socket, feed, user) {
    socket.answered = true
    socket.on('pong', () => {
      socket.answered = true
    })
    socket.on('error', () => socket.terminate())
    socket.on('message', (data, binary) => {
      if (binary) return socket.send(data)
      send(socket, { type: 'echo', data: data.toString() })
    })
    socket.on('close', () => feed.remove(user, socket))
    feed.add(user, socket)
    send(socket, { type: 'hello', ...feed.served })
  }

  return {
    upgrade,
    /** Takes no more, and asks those that are open to go. */
    drain() {
      draining = true
      clearInterval(heartbeat)
      for (const socket of server.clients) socket.close(1001)
    },
    /** Cuts those that did not go. */
    close() {
      for (const socket of server.clients) socket.terminate()
      for (const feed of [...feeds.values()]) feed.end(1001)
    },
  }
}

/** The new orders of one jurisdiction, for the sockets of this process. */
class Feed {
  #sockets = new Map() // user → Set of sockets
  #holds = 0 // handshakes in progress
  #ready
  #client
  #behind = []
  #telling = false
  #ended = false
  #send
  #onEnd
  #log

  /** Who announces: `{ jurisdiction, role }`, once held. */
  served

  constructor(db, send, onEnd, log) {
    this.#send = send
    this.#onEnd = onEnd
    this.#log = log
    this.#ready = this.#listen(db)
    this.#ready.catch(() => {}) // Each hold throws it.
  }

  /** Waits until the feed listens, and keeps it from ending; the result lets go again. */
  async hold() {
    this.#holds += 1
    const release = () => {
      this.#holds -= 1
      this.#endIfIdle()
    }
    try {
      await this.#ready
      return release
    } catch (error) {
      release()
      throw error
    }
  }

  add(user, socket) {
    if (this.#ended) return socket.close(1012)
    const set = this.#sockets.get(user) ?? new Set()
    this.#sockets.set(user, set.add(socket))
  }

  remove(user, socket) {
    const set = this.#sockets.get(user)
    set?.delete(socket)
    if (set?.size === 0) this.#sockets.delete(user)
    this.#endIfIdle()
  }

  /** Ends the feed and closes its sockets with `code`. */
  end(code) {
    if (this.#ended) return
    this.#ended = true
    this.#onEnd(this)
    for (const set of this.#sockets.values()) for (const socket of set) socket.close(code)
    this.#client?.end().catch(() => {}) // It may be broken already, which is why the feed ends.
  }

  async #listen(db) {
    try {
      this.#client = await db.connect()
      this.#client.on('error', (error) => this.#log({ event: 'feed-broken', error: error.name, cause: error.code }))
      this.#client.on('end', () => this.end(1012))
      this.#client.on('notification', ({ payload }) => this.#announced(JSON.parse(payload)))
      await this.#client.query(`LISTEN ${CHANNEL}`)
      this.served = db.served
    } catch (error) {
      this.end(1012)
      throw error
    }
  }

  #announced({ user, order }) {
    if (!this.#sockets.has(user)) return
    if (this.#behind.push(order) > MAX_BEHIND) return this.end(1012)
    if (!this.#telling) this.#tell()
  }

  /** Reads what was announced, as much at a time as has gathered, and sends it. */
  async #tell() {
    this.#telling = true
    try {
      while (this.#behind.length > 0 && !this.#ended) {
        const { rows } = await this.#client.query(
          `SELECT user_id, ${ORDER} FROM orders WHERE id = ANY ($1) ORDER BY created_at, id`, [this.#behind.splice(0)])
        for (const { user_id: user, ...order } of rows) {
          for (const socket of this.#sockets.get(user) ?? []) this.#send(socket, { type: 'order', order })
        }
      }
    } catch (error) {
      this.#log({ event: 'feed-broken', error: error.name, cause: error.code })
      this.end(1012)
    } finally {
      this.#telling = false
    }
  }

  #endIfIdle() {
    if (this.#sockets.size === 0 && this.#holds === 0) this.end(1001)
  }
}
