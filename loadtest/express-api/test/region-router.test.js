// The middleware alone: what it makes of headers, without a database.

import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { once } from 'node:events'
import { test } from 'node:test'
import express from 'express'
import { regionRouter } from '../region-router.js'

const GATEWAY = { 'residency-served-by': 'eu-frankfurt', 'residency-access': 'read' }
const EU = { ...GATEWAY, 'residency-jurisdiction': 'eu', 'residency-database': 'primary', 'residency-subject': 'user-1' }

/** What an app answers that mirrors req.residency, or asks its database at /query. */
async function ask(t, options, headers, path = '/') {
  const residency = regionRouter({ region: 'eu-frankfurt', databases: {}, ...options })
  const app = express()
  app.use(residency.middleware)
  app.get('/', (req, res) => res.json(req.residency))
  app.get('/query', async (req, res) => res.json((await req.db.query('SELECT 1')).rows))
  app.get('/leak', () => {
    throw new Error('ada@example.org')
  })
  app.use(residency.errorHandler)
  const server = app.listen(0, '127.0.0.1')
  t.after(() => server.close())
  await once(server, 'listening')
  const answer = await fetch(`http://127.0.0.1:${server.address().port}${path}`, { headers })
  return { status: answer.status, type: answer.headers.get('content-type'), body: await answer.json() }
}

function sign(secret, headers, time = Math.floor(Date.now() / 1000)) {
  const values = ['served-by', 'access', 'jurisdiction', 'database', 'subject'].map((name) => headers[`residency-${name}`] ?? '')
  const digest = createHmac('sha256', secret).update([time, ...values].join('\n'), 'latin1').digest('hex')
  return { ...headers, 'residency-signature': `t=${time},v1=${digest}` }
}

test('a decision is handed on', async (t) => {
  const { body } = await ask(t, {}, { ...EU, 'residency-mode': 'observe' })
  assert.deepEqual(body, { servedBy: 'eu-frankfurt', access: 'read', jurisdiction: 'eu', database: 'primary', subject: 'user-1', mode: 'observe' })
  const anonymous = await ask(t, {}, GATEWAY)
  assert.deepEqual(anonymous.body, { servedBy: 'eu-frankfurt', access: 'read', jurisdiction: null, database: null, subject: null, mode: 'enforce' })
})

test('a subject beyond ASCII is read as the UTF-8 it is, and its signature holds', async (t) => {
  const bytes = Buffer.from('zoë').toString('latin1')
  const { body } = await ask(t, { secret: 's' }, sign('s', { ...EU, 'residency-subject': bytes }))
  assert.equal(body.subject, 'zoë')
})

const SECRET = 'a shared secret'
const now = Math.floor(Date.now() / 1000)
const refusals = [
  ['no headers', {}, {}, 500, 'gateway-headers-missing'],
  ['no access', {}, { 'residency-served-by': 'eu-frankfurt' }, 500, 'gateway-headers-missing'],
  ['an unknown access', {}, { ...GATEWAY, 'residency-access': 'admin' }, 500, 'gateway-headers-invalid'],
  ['a jurisdiction without a role', {}, { ...GATEWAY, 'residency-jurisdiction': 'eu' }, 500, 'gateway-headers-invalid'],
  ['another region', {}, { ...EU, 'residency-served-by': 'us-east' }, 500, 'region-mismatch'],
  ['no signature', { secret: SECRET }, EU, 403, 'gateway-signature-invalid'],
  ['another secret', { secret: SECRET }, sign('another', EU), 403, 'gateway-signature-invalid'],
  ['an old signature', { secret: SECRET }, sign(SECRET, EU, now - 301), 403, 'gateway-signature-invalid'],
  ['a changed subject', { secret: SECRET }, { ...sign(SECRET, EU), 'residency-subject': 'user-2' }, 403, 'gateway-signature-invalid'],
  ['values moved between lines', { secret: SECRET }, { ...sign(SECRET, { ...EU, 'residency-database': 'primary', 'residency-subject': '' }), 'residency-subject': 'x' }, 403, 'gateway-signature-invalid'],
]
for (const [what, options, headers, status, code] of refusals) {
  test(`refused: ${what}`, async (t) => {
    const { body, ...answer } = await ask(t, options, headers)
    assert.deepEqual([answer.status, body.code, body.status, body.type], [status, code, status, `urn:residency:problem:${code}`])
    assert.match(answer.type, /^application\/problem\+json/)
  })
}

test('a signed decision is believed', async (t) => {
  assert.equal((await ask(t, { secret: SECRET }, sign(SECRET, EU))).status, 200)
})

test('a jurisdiction that is not held, not decided, or named like an object\'s own property', async (t) => {
  const databases = { us: 'postgres://127.0.0.1:1/us' }
  assert.equal((await ask(t, { databases }, EU, '/query')).body.code, 'jurisdiction-not-held')
  assert.equal((await ask(t, { databases }, { ...EU, 'residency-jurisdiction': 'constructor' }, '/query')).body.code, 'jurisdiction-not-held')
  assert.equal((await ask(t, { databases }, GATEWAY, '/query')).body.code, 'jurisdiction-undecided')
})

test('a database that is away is named, with its jurisdiction and region', async (t) => {
  const { status, body } = await ask(t, { databases: { eu: 'postgres://127.0.0.1:1/eu' } }, EU, '/query')
  assert.deepEqual([status, body.code], [503, 'database-unavailable'])
  assert.match(body.detail, /database of eu in eu-frankfurt/)
})

test('an unexpected error tells neither the client nor the log what it says', async (t) => {
  const events = []
  const { status, body } = await ask(t, { log: (event) => events.push(event) }, EU, '/leak')
  assert.deepEqual([status, body.code, events[0].code, events[0].route], [500, 'internal-error', 'internal-error', '/leak'])
  assert.doesNotMatch(JSON.stringify([body, events]), /ada@example/)
  assert.match(events[0].stack[0], /region-router\.test\.js/)
})
