// GET /live: a WebSocket that echoes, and tells of the user's new orders, whichever process of the region took them.
//
// One connection per jurisdiction listens (LISTEN) for all sockets of this process; it opens with the first and ends with
// the last. If it breaks, its sockets close with 1012 so that clients come back: an order could have been missed.

import { WebSocketServer } from 'ws'
import { subject } from '../input.js'
import { CHANNEL, ORDER } from './orders.js'

/** A message a client may send, bytes. */
const MAX_MESSAGE = 65_536
/** A client that takes no data is cut when this much waits for it, bytes. */
const MAX_UNSENT = 1_048_576
/** A client that answers no ping for one to two of these is gone, ms. */
const PING_MS = 30_000

export function live(settings, residency, log) {
  const server = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE })
  const feeds = new Map()
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

  /** The feed of a jurisdiction, connected; the promise is kept so that simultaneous sockets share it. */
  function feedOf(req) {
    const { jurisdiction } = req.residency
    if (!feeds.has(jurisdiction)) {
      const sockets = new Map() // user → Set of sockets
      const feed = { sockets, users: 0, ready: null, client: null, end: () => {} }
      feed.end = (code) => {
        if (feeds.get(jurisdiction) === feed) feeds.delete(jurisdiction)
        for (const set of sockets.values()) for (const socket of set) socket.close(code)
        feed.client?.end().catch(() => {}) // Already broken; that is why it ends.
      }
      feed.ready = connect(req.db, feed)
      feeds.set(jurisdiction, feed)
    }
    return feeds.get(jurisdiction)
  }

  async function connect(db, feed) {
    try {
      const client = await db.connect()
      feed.client = client
      client.on('error', (error) => log({ event: 'feed-broken', error: error.name, cause: error.code }))
      client.on('end', () => feed.end(1012))
      client.on('notification', ({ payload }) => announce(client, feed.sockets, JSON.parse(payload)))
      await client.query(`LISTEN ${CHANNEL}`)
      return db.served
    } catch (error) {
      feed.end(1012)
      throw error
    }
  }

  async function announce(client, sockets, { user, order }) {
    if (!sockets.has(user)) return
    try {
      const { rows: [row] } = await client.query(`SELECT ${ORDER} FROM orders WHERE id = $1 AND user_id = $2`, [order, user])
      if (row) for (const socket of sockets.get(user) ?? []) send(socket, { type: 'order', order: row })
    } catch (error) {
      log({ event: 'feed-broken', error: error.name, cause: error.code })
      client.end().catch(() => {}) // Its 'end' closes the sockets.
    }
  }

  function upgrade(req, socket, head) {
    socket.on('error', () => socket.destroy()) // Until ws takes over; a reset by the client is no fault of ours.
    return residency.upgrade(req, socket, async () => {
      const user = subject(req)
      const { pathname } = new URL(req.url, 'http://api')
      if (pathname !== '/live' || draining) return refuse(socket, draining ? '503 Service Unavailable' : '404 Not Found')
      const feed = feedOf(req)
      const served = await feed.ready
      if (socket.destroyed) return dismiss(feed)
      server.handleUpgrade(req, socket, head, (accepted) => attach(accepted, feed, user, served))
    })
  }

  function attach(socket, feed, user, served) {
    socket.answered = true
    const set = feed.sockets.get(user) ?? new Set()
    feed.sockets.set(user, set.add(socket))
    socket.on('pong', () => {
      socket.answered = true
    })
    socket.on('error', () => socket.terminate())
    socket.on('message', (data, binary) => {
      if (binary) return socket.send(data, { binary })
      send(socket, { type: 'echo', data: data.toString() })
    })
    socket.on('close', () => {
      set.delete(socket)
      if (set.size === 0 && feed.sockets.get(user) === set) feed.sockets.delete(user)
      dismiss(feed)
    })
    send(socket, { type: 'hello', ...served })
  }

  /** Ends a feed nobody listens to. */
  function dismiss(feed) {
    if (feed.sockets.size === 0) feed.end(1001)
  }

  return {
    upgrade,
    drain() {
      draining = true
      clearInterval(heartbeat)
      for (const socket of server.clients) socket.close(1001)
    },
    async close() {
      for (const socket of server.clients) socket.terminate()
      for (const feed of [...feeds.values()]) feed.end(1001)
    },
  }
}

function refuse(socket, status) {
  socket.end(`HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
}
