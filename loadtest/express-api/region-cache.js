// What this region's Redis keeps: counters, under user ids or none. No e-mail address, name or token is ever a key or value,
// and requests of EU users reach only regions whose Redis may know their ids.
//
// Redis away: every method answers null and the API goes on; nothing that must be right depends on it.

import { createClient } from '@redis/client'

/** The longest wait for Redis, ms: what it adds to a request at worst. */
const ANSWER_MS = 250

export function regionCache(url, region, log) {
  if (!url) return { loginAttempts: async () => null, productViews: async () => null, close: async () => {} }

  let reported = false
  const client = createClient({
    url,
    disableOfflineQueue: true, // Fail at once rather than queue without bound.
    commandsQueueMaxLength: 10_000,
    socket: { connectTimeout: 2000, reconnectStrategy: (tries) => Math.min(100 * 2 ** tries, 3000) },
  })
  client.on('ready', () => {
    reported = false
  })
  client.on('error', (error) => {
    if (!reported) log({ event: 'redis-unavailable', error: error.name, cause: error.code })
    reported = true // Once per outage, not once per retry.
  })
  client.connect().catch(() => {}) // Its fault comes as an 'error' event too.

  // Redis may also hang with its connection up, so each answer has a bound of its own.
  const orNull = (answer) => {
    let timer
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, ANSWER_MS, null)
    })
    return Promise.race([answer.catch(() => null), late]).finally(() => clearTimeout(timer))
  }
  return {
    /** How often this user has tried to log in, in the current minute, this try included. */
    loginAttempts(userId) {
      const key = `login:${userId}:${Math.floor(Date.now() / 60_000)}`
      return orNull(client.multi().incr(key).expire(key, 120).exec().then(([attempts]) => attempts))
    },

    /** How often the product list was asked for in this region. */
    productViews() {
      return orNull(client.incr(`views:products:${region}`))
    },

    async close() {
      if (client.isOpen) client.destroy()
    },
  }
}
