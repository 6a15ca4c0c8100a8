// The application: what every route shares, in the order a request meets it.

import express from 'express'
import { accounts } from './routes/accounts.js'
import { live } from './routes/live.js'
import { orders } from './routes/orders.js'
import { transfers } from './routes/transfers.js'
import { visitors } from './routes/visitors.js'
import { regionCache } from './region-cache.js'
import { residencyControl } from './residency-control.js'
import { Problem, regionRouter } from './region-router.js'

/**
 * @returns `app` for http.createServer, `upgrade` for its event of that name, `drain()` when no new work is wanted, `cut()`
 *   to end WebSockets that stay, `close()` when the last request is answered
 */
export function buildApi(settings, keys, log) {
  const residency = regionRouter({
    region: settings.region,
    databases: settings.databases,
    secret: settings.secret,
    poolSize: settings.poolSize,
    log,
  })
  const cache = regionCache(settings.redisUrl, settings.region, log)
  const sockets = live(settings, residency, log)
  const control = settings.control && residencyControl({ ...settings.control, region: settings.region })
  const context = { settings, keys, cache, control }
  const unanswered = new Set()
  let draining = false

  const app = express()
  app.disable('x-powered-by')
  app.disable('etag') // Hashing each answer would be work that no test or load scenario asks for.
  app.use((req, res, next) => {
    if (draining) res.set('Connection', 'close')
    unanswered.add(res)
    res.once('close', () => unanswered.delete(res))
    next()
  })

  // What others must reach without a gateway: balancers, and gateways that verify tokens.
  app.get('/livez', (req, res) => {
    res.status(draining ? 503 : 200).json({ status: draining ? 'draining' : 'ok', served_by: settings.region })
  })
  app.get('/.well-known/jwks.json', async (req, res) => {
    res.set('Cache-Control', 'no-cache').json(await keys.jwks()) // A withdrawn key must be gone at once.
  })

  // For scenarios that judge from outside: who asked, in the token's own words and not the gateway's.
  if (settings.logDeliveries) {
    app.use((req, res, next) => {
      // `OPTIONS *` asks for no resource: a proxy's question whether this process answers.
      const question = req.method === 'OPTIONS' && req.url === '*'
      log({ event: question ? 'asked' : 'delivered', subject: subjectOf(req), at_ms: Date.now() })
      next()
    })
  }
  // A process that is up and useless.
  if (settings.failStatus) {
    app.use((req, res) => {
      req.resume()
      res.status(settings.failStatus).json({ served_by: settings.region })
    })
  }

  app.use(residency.middleware)
  app.use((req, res, next) => {
    res.answer = (status, body) => res.status(status).json({ ...body, served_by: settings.region, ...req.db.served })
    next()
  })
  for (const routes of [visitors, accounts, orders, transfers]) app.use(routes(context))
  app.use((req) => {
    throw new Problem(404, 'not-found', 'There is no such endpoint', `README.md lists them; ${req.method} on this path is none.`)
  })
  app.use(residency.errorHandler)

  return {
    app,
    upgrade: sockets.upgrade,
    drain() {
      draining = true
      for (const res of unanswered) if (!res.headersSent) res.set('Connection', 'close')
      sockets.drain()
    },
    cut: sockets.close,
    async close() {
      sockets.close()
      control?.close()
      await Promise.all([residency.close(), cache.close()])
    },
  }
}

/** The `sub` of a request's token, unverified; null without one. */
function subjectOf(req) {
  try {
    return JSON.parse(Buffer.from(req.headers.authorization.split('.')[1], 'base64url')).sub ?? null
  } catch {
    return null
  }
}
