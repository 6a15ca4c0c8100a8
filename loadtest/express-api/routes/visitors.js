// What needs no user: the product list, and a mirror of the gateway's decision.

import { readFileSync } from 'node:fs'
import { Router } from 'express'

const products = JSON.parse(readFileSync(new URL('../products.json', import.meta.url), 'utf8'))

export function visitors({ cache }) {
  const routes = Router()

  routes.get('/products', async (req, res) => {
    res.answer(200, { products, views: await cache.productViews() })
  })

  routes.all('/whoami', async (req, res) => {
    const forwarding = Object.entries(req.headers).filter(([name]) => /^(residency-|forwarded$|x-forwarded-|host$)/.test(name))
    const body = { residency: req.residency, method: req.method, headers: Object.fromEntries(forwarding), pid: process.pid }
    if (req.query.database === '1') {
      const { rows } = await req.db.query(`SELECT pg_is_in_recovery() AS in_recovery, host(inet_server_addr()) AS address,
        inet_server_port() AS port, current_setting('transaction_read_only') AS read_only`)
      body.database = rows[0]
    }
    res.answer(200, body)
  })

  return routes
}
