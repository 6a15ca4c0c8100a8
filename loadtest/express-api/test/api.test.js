// The whole API as two processes run it: real Postgres with a standby, real Redis, real sockets. The gateway's headers are
// set by the tests, since that is what this side of the contract is.

import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createClient } from '@redis/client'
import { createLocalJWKSet, jwtVerify } from 'jose'
import pg from 'pg'
import { WebSocket } from 'ws'
import { missing, node, startApi, startServices, until } from './services.js'

const ISSUER = 'https://auth.test'
const PASSWORD = 'correct horse battery'

/** The gateway's headers as a region's API gets them. */
function headers(region, access, database, subject) {
  return {
    'residency-served-by': region,
    'residency-access': access,
    'residency-jurisdiction': 'eu',
    'residency-database': database,
    ...(subject ? { 'residency-subject': subject } : {}),
  }
}

describe('the API', { skip: missing, timeout: 180_000 }, () => {
  let services, scratch, keysFile, home, second, replica, user

  before(async () => {
    scratch = await mkdtemp(join(tmpdir(), 'express-api-keys-'))
    keysFile = join(scratch, 'keys.json')
    ;[services] = await Promise.all([startServices(), node('keys.js', 'init', keysFile)])
    await node('schema.js', services.primaryUrl)
    const environment = { JWT_KEYS_FILE: keysFile, ISSUER, AUDIENCE: 'api', REDIS_URL: services.redisUrl, MAX_BODY_BYTES: String(64 << 20),
      LOGIN_ATTEMPTS_PER_MINUTE: '10', DRAIN_MS: '1000' }
    const primary = { ...environment, REGION: 'eu-frankfurt', DATABASES: JSON.stringify({ eu: services.primaryUrl }) }
    const standby = { ...environment, REGION: 'eu-nuremberg', DATABASES: JSON.stringify({ eu: { replica: services.standbyUrl } }) }
    ;[home, second, replica] = await Promise.all([primary, primary, standby].map(startApi))
    user = (await call(home, 'POST', '/signup', write(), signup('ada@example.org'))).body
  })
  after(async () => {
    await Promise.all([home, second, replica].map((api) => api?.stop()))
    await services?.stop()
    await rm(scratch, { recursive: true, force: true })
  })

  const write = (subject) => headers('eu-frankfurt', 'write', 'primary', subject)
  const read = (subject) => headers('eu-frankfurt', 'read', 'primary', subject)
  const remote = (access, database, subject) => headers('eu-nuremberg', access, database, subject)
  const signup = (email) => ({ email, password: PASSWORD, name: 'Ada', billing: { country: 'de' } })
  const login = (email = 'ada@example.org', password = PASSWORD) => ({ email, password, billing: { country: 'DE' } })

  async function call(api, method, path, sent, body) {
    const json = body === undefined ? {} : { body: JSON.stringify(body) }
    const answer = await fetch(api.url + path, { method, headers: { ...sent, ...(json.body && { 'content-type': 'application/json' }) }, ...json })
    return { status: answer.status, headers: answer.headers, body: await answer.json() }
  }

  async function problem(api, method, path, sent, body) {
    const answer = await call(api, method, path, sent, body)
    assert.match(answer.headers.get('content-type'), /^application\/problem\+json/)
    return [answer.status, answer.body.code]
  }

  async function sql(text, values) {
    const client = new pg.Client({ connectionString: services.primaryUrl })
    await client.connect()
    try {
      return (await client.query(text, values)).rows
    } finally {
      await client.end()
    }
  }

  test('sign-up creates the user where the gateway said, once per address', async () => {
    const { status, body, headers: sent } = await call(home, 'POST', '/signup', write(), signup('Grace@Example.org'))
    assert.equal(status, 201)
    assert.deepEqual([body.jurisdiction, body.country, body.served_by, body.role], ['eu', 'DE', 'eu-frankfurt', 'primary'])
    assert.equal(sent.get('x-served-database'), 'eu/primary')
    const [row] = await sql('SELECT email, password FROM users WHERE id = $1', [body.id])
    assert.equal(row.email, 'grace@example.org')
    assert.match(row.password, /^scrypt\$16384\$8\$1\$/)
    assert.deepEqual(await problem(second, 'POST', '/signup', write(), signup('grace@example.org')), [409, 'email-taken'])
  })

  test('sign-up refuses what is incomplete', async () => {
    for (const change of [{ email: 'no' }, { password: 'short' }, { name: '' }, { billing: { country: 'DEU' } }, { billing: null }]) {
      assert.deepEqual(await problem(home, 'POST', '/signup', write(), { ...signup('x@example.org'), ...change }), [422, 'invalid-input'])
    }
    const broken = await fetch(`${home.url}/signup`, { method: 'POST', headers: { ...write(), 'content-type': 'application/json' }, body: '{"a' })
    assert.equal((await broken.json()).code, 'bad-request')
  })

  test('login issues a token that the published keys verify', async () => {
    const { body } = await call(second, 'POST', '/login', write(), login('ADA@example.org'))
    const jwks = createLocalJWKSet((await call(home, 'GET', '/.well-known/jwks.json')).body)
    const { payload, protectedHeader } = await jwtVerify(body.access_token, jwks, { issuer: ISSUER, audience: 'api', algorithms: ['RS256'] })
    assert.deepEqual([payload.sub, payload.region, payload.exp - payload.iat], [user.id, 'eu', 3600])
    assert.ok(protectedHeader.kid)
    assert.deepEqual(await problem(home, 'POST', '/login', write(), login('ada@example.org', 'wrong password')), [401, 'login-failed'])
    assert.deepEqual(await problem(home, 'POST', '/login', write(), login('nobody@example.org')), [401, 'login-failed'])
  })

  test('login attempts are counted over all processes, in Redis, under the user id', async () => {
    const { body: { id } } = await call(home, 'POST', '/signup', write(), signup('eve@example.org'))
    const statuses = []
    // More than the limit twice over, so that the change of a minute can't hide it.
    for (let attempt = 0; attempt < 22; attempt += 1) {
      const { status } = await call(attempt % 2 ? home : second, 'POST', '/login', write(), login('eve@example.org', 'wrong password'))
      statuses.push(status)
    }
    assert.equal(statuses[0], 401)
    assert.ok(statuses.includes(429))
    const redis = await createClient({ url: services.redisUrl }).connect()
    const keys = await redis.keys('*')
    redis.destroy()
    assert.ok(keys.some((key) => key.startsWith(`login:${id}:`)))
    assert.doesNotMatch(keys.join(), /example/)
  })

  test('a user reads their own record, at home and at the replica', async () => {
    const { body } = await call(home, 'GET', '/me', read(user.id))
    assert.deepEqual([body.email, body.name, body.country, body.role], ['ada@example.org', 'Ada', 'DE', 'primary'])
    await until(async () => (await call(replica, 'GET', '/me', remote('read', 'replica', user.id))).status === 200)
    const there = await call(replica, 'GET', '/me', remote('read', 'replica', user.id))
    assert.deepEqual([there.body.email, there.body.role, there.headers.get('x-served-database')], ['ada@example.org', 'replica', 'eu/replica'])
    assert.deepEqual(await problem(home, 'GET', '/me', read()), [401, 'token-missing'])
    assert.deepEqual(await problem(home, 'GET', '/me', read('stranger')), [404, 'not-found'])
  })

  test('orders are placed once per key, and are their user\'s alone', async () => {
    const sent = { ...write(user.id), 'idempotency-key': 'k1' }
    const first = await call(home, 'POST', '/orders', sent, { item: 'Oak desk', quantity: 2, note: '100% oak' })
    const again = await call(second, 'POST', '/orders', sent, { item: 'Oak desk', quantity: 2 })
    assert.deepEqual([first.status, again.status, again.body.id], [201, 200, first.body.id])
    assert.deepEqual(await sql('SELECT quantity FROM orders WHERE user_id = $1', [user.id]), [{ quantity: 2 }])

    const { body } = await call(second, 'GET', `/orders/${first.body.id}`, read(user.id))
    assert.deepEqual([body.item, body.note, body.announced], ['Oak desk', '100% oak', undefined])
    const { body: { id: other } } = await call(home, 'POST', '/signup', write(), signup('mallory@example.org'))
    assert.deepEqual(await problem(home, 'GET', `/orders/${first.body.id}`, read(other)), [404, 'not-found'])
    assert.deepEqual(await problem(home, 'GET', '/orders/7', read(user.id)), [404, 'not-found'])
    assert.deepEqual(await problem(home, 'POST', '/orders', write(user.id), { item: 'Desk', quantity: 0 }), [422, 'invalid-input'])
    assert.deepEqual(await problem(home, 'POST', '/orders', write('stranger'), { item: 'Desk' }), [404, 'not-found'])
    assert.deepEqual((await call(home, 'GET', '/orders', read(other))).body.orders, [])
    assert.equal((await call(home, 'GET', '/orders?limit=1', read(user.id))).body.orders.length, 1)
  })

  test('search finds text in the user\'s orders, takes % literally, and reads only', async () => {
    const { body: { id } } = await call(home, 'POST', '/signup', write(), signup('joan@example.org'))
    for (const item of ['Arc lamp', 'Oak shelf', '50% off lamp']) await call(home, 'POST', '/orders', write(id), { item })
    const find = async (text) => (await call(home, 'POST', '/search', read(id), { text })).body.orders.map(({ item }) => item).sort()
    assert.deepEqual(await find('LAMP'), ['50% off lamp', 'Arc lamp'])
    assert.deepEqual(await find('%'), ['50% off lamp'])
    await until(async () => (await call(replica, 'POST', '/search', remote('read', 'replica', id), { text: 'oak' })).body.orders.length === 1)
  })

  test('a write that was routed as a read is refused, at home as at a replica', async () => {
    for (const [api, sent] of [[home, read(user.id)], [replica, remote('read', 'replica', user.id)]]) {
      assert.deepEqual(await problem(api, 'POST', '/orders', sent, { item: 'Desk' }), [500, 'write-in-read-request'])
    }
  })

  test('the primary asked for, a standby found: 503 for writes and reads', async () => {
    const { status, body, headers: sent } = await call(replica, 'POST', '/orders', remote('write', 'primary', user.id), { item: 'Desk' })
    assert.deepEqual([status, body.code, sent.get('retry-after')], [503, 'database-read-only', '1'])
    assert.equal(sent.get('residency-fault'), 'read-only', 'the gateway learns of it')
    assert.match(body.detail, /database of eu in eu-nuremberg .*Remedy: promote it/)
    assert.deepEqual(await problem(replica, 'GET', '/me', remote('read', 'primary', user.id)), [503, 'database-read-only'])
    assert.ok(replica.events.some(({ code, cause }) => code === 'database-read-only' && cause === '25006'))
  })

  test('uploads are hashed while they stream, and bounded', async () => {
    const chunk = Buffer.alloc(1 << 20, 'residency')
    const stream = (count) => new ReadableStream({
      pull(controller) {
        if (count-- > 0) controller.enqueue(chunk)
        else controller.close()
      },
    })
    const upload = (count) => fetch(`${home.url}/upload`, { method: 'POST', headers: write(user.id), body: stream(count), duplex: 'half' })
    const digest = createHash('sha256')
    for (let each = 0; each < 40; each += 1) digest.update(chunk)
    const answer = await (await upload(40)).json()
    assert.deepEqual([answer.bytes, answer.sha256], [40 << 20, digest.digest('hex')])
    assert.deepEqual(await sql('SELECT bytes::integer, encode(sha256, \'hex\') AS sha256 FROM uploads WHERE id = $1', [answer.id]),
      [{ bytes: answer.bytes, sha256: answer.sha256 }])
    assert.equal((await (await upload(65)).json()).code, 'body-too-large')
    const declared = await fetch(`${home.url}/upload`, { method: 'POST', headers: write(user.id), body: Buffer.alloc((64 << 20) + 1) })
    assert.equal((await declared.json()).code, 'body-too-large')
    assert.equal((await sql('SELECT count(*)::integer AS n FROM uploads'))[0].n, 1)
  })

  test('downloads have the length and content announced', async () => {
    const answer = await fetch(`${home.url}/download?bytes=200001`, { headers: read() })
    const body = Buffer.from(await answer.arrayBuffer())
    assert.deepEqual(body, Buffer.from(Uint8Array.from({ length: 200_001 }, (_, index) => index)))
    assert.equal((await fetch(`${home.url}/download?bytes=0`, { headers: read() })).headers.get('content-length'), '0')
    assert.deepEqual(await problem(home, 'GET', '/download?bytes=-1', read()), [422, 'invalid-input'])
  })

  test('products and whoami need no database, and whoami shows the decision', async () => {
    const anonymous = { 'residency-served-by': 'eu-frankfurt', 'residency-access': 'read' }
    const [one, two] = [await call(home, 'GET', '/products', anonymous), await call(second, 'GET', '/products', anonymous)]
    assert.equal(two.body.views, one.body.views + 1)
    assert.equal(two.headers.get('x-served-database'), null)
    const { body } = await call(home, 'PUT', '/whoami?database=1', read(user.id))
    assert.deepEqual([body.method, body.residency.subject, body.database.in_recovery, body.database.read_only], ['PUT', user.id, false, 'on'])
  })

  test('a Redis that hangs or is away costs a counter, not an answer', async () => {
    services.redis.kill('SIGSTOP')
    try {
      const hung = await call(home, 'GET', '/products', read())
      assert.deepEqual([hung.status, hung.body.views], [200, null])
    } finally {
      services.redis.kill('SIGCONT')
    }
    await until(async () => (await call(home, 'GET', '/products', read())).body.views > 0)
    const away = await startApi({ JWT_KEYS_FILE: keysFile, ISSUER, AUDIENCE: 'api', REGION: 'eu-frankfurt', DATABASES: '{}', REDIS_URL: 'redis://127.0.0.1:1', DRAIN_MS: '0' })
    assert.deepEqual((await call(away, 'GET', '/products', read())).body.views, null)
    assert.equal(await away.stop(), 0)
  })

  test('a process that is to fail answers its status to everything but health and keys, and deliveries name the token\'s subject', async () => {
    const failing = await startApi({ JWT_KEYS_FILE: keysFile, ISSUER, AUDIENCE: 'api', REGION: 'eu-frankfurt', DATABASES: '{}', FAIL_STATUS: '500', LOG_DELIVERIES: '1', DRAIN_MS: '0' })
    const token = ['e30', Buffer.from('{"sub":"ada"}').toString('base64url'), 'x'].join('.')
    assert.equal((await call(failing, 'GET', '/livez', {})).status, 200)
    assert.equal((await call(failing, 'GET', '/me', { ...read('someone else'), authorization: `Bearer ${token}` })).status, 500)
    assert.equal((await call(failing, 'POST', '/orders', { authorization: 'Bearer garbage' }, { item: 'x' })).status, 500)
    await until(async () => failing.events.filter(({ event }) => event === 'delivered').length === 2)
    assert.deepEqual(failing.events.filter(({ event }) => event === 'delivered').map(({ subject }) => subject), ['ada', null])
    assert.equal(await failing.stop(), 0)
  })

  test('more requests at once than connections wait their turn', async () => {
    const answers = await Promise.all(Array.from({ length: 200 }, () => call(home, 'GET', '/me', read(user.id))))
    assert.ok(answers.every(({ status }) => status === 200))
    const [{ n }] = await sql('SELECT count(*)::integer AS n FROM pg_stat_activity WHERE application_name = \'api eu-frankfurt read\'')
    assert.ok(n > 0 && n <= 8, `${n} connections of two processes with 4 each`)
  })

  test('without the gateway only health and keys answer', async () => {
    assert.deepEqual(await problem(home, 'GET', '/me', {}), [500, 'gateway-headers-missing'])
    assert.deepEqual(await problem(home, 'GET', '/nothing', {}), [500, 'gateway-headers-missing'])
    assert.deepEqual(await problem(home, 'GET', '/nothing', read()), [404, 'not-found'])
    assert.equal((await call(home, 'GET', '/livez', {})).body.status, 'ok')
  })

  function socket(api, sent, path = '/live') {
    const client = new WebSocket(`ws://${api.host}:${api.port}${path}`, { headers: sent })
    const messages = []
    client.on('message', (data) => messages.push(JSON.parse(data)))
    return { client, messages, next: (type) => until(() => messages.some((message) => message.type === type)) }
  }

  async function refusal(api, sent, path) {
    const { client } = socket(api, sent, path)
    const [, answer] = await once(client, 'unexpected-response')
    const body = JSON.parse(Buffer.concat(await answer.toArray()))
    return [answer.statusCode, body.code]
  }

  test('a WebSocket echoes, and tells of orders that another process took', async () => {
    const [mine, others] = [socket(home, write(user.id)), socket(home, write('stranger'))]
    await Promise.all([mine.next('hello'), others.next('hello')])
    assert.deepEqual(mine.messages[0], { type: 'hello', jurisdiction: 'eu', role: 'primary', served_by: 'eu-frankfurt' })
    mine.client.send('ping')
    await mine.next('echo')
    const { body: order } = await call(second, 'POST', '/orders', write(user.id), { item: 'Mesh chair' })
    await mine.next('order')
    const told = mine.messages.find(({ type }) => type === 'order')
    assert.deepEqual([told.order.id, told.order.item], [order.id, 'Mesh chair'])
    assert.deepEqual(others.messages.map(({ type }) => type), ['hello'])
    for (const { client } of [mine, others]) client.close()
    await until(async () => (await sql('SELECT 1 FROM pg_stat_activity WHERE query LIKE \'LISTEN%\' OR query LIKE \'SELECT user_id%\'')).length <= 1)
  })

  test('WebSockets are refused in HTTP, with the same codes', async () => {
    assert.deepEqual(await refusal(home, {}), [500, 'gateway-headers-missing'])
    assert.deepEqual(await refusal(home, write()), [401, 'token-missing'])
    assert.deepEqual(await refusal(home, write(user.id), '/elsewhere'), [404, 'not-found'])
    assert.deepEqual(await refusal(replica, remote('write', 'primary', user.id)), [503, 'database-read-only'])
    assert.deepEqual(await refusal(replica, remote('read', 'replica', user.id)), [500, 'write-in-read-request'])
  })

  test('lost database sessions close WebSockets with 1012 and spare the next request', async () => {
    const { client, next } = socket(home, write(user.id))
    await next('hello')
    const closed = once(client, 'close')
    await sql('SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE \'api eu-frankfurt%\'')
    assert.equal((await closed)[0], 1012)
    await until(async () => (await call(home, 'GET', '/me', read(user.id))).status === 200)
    const again = socket(home, write(user.id))
    await again.next('hello')
    again.client.close()
  })

  test('keys rotate and are withdrawn while the processes run', async () => {
    const kids = async (api) => (await call(api, 'GET', '/.well-known/jwks.json')).body.keys.map(({ kid }) => kid)
    const signer = async (api) => JSON.parse(Buffer.from((await call(api, 'POST', '/login', write(), login())).body.access_token.split('.')[0], 'base64url')).kid
    const [old] = await kids(home)
    const fresh = await node('keys.js', 'rotate', keysFile)
    for (const api of [home, second]) {
      assert.deepEqual(await kids(api), [old, fresh])
      assert.equal(await signer(api), fresh)
    }
    assert.equal(await node('keys.js', 'withdraw', keysFile, fresh), old)
    for (const api of [home, second]) {
      assert.deepEqual(await kids(api), [old])
      assert.equal(await signer(api), old)
    }
    await assert.rejects(node('keys.js', 'withdraw', keysFile, old), /only key; rotate first/)
    await assert.rejects(node('keys.js', 'init', keysFile), /exists; use rotate/)
    assert.equal((await stat(keysFile)).mode & 0o777, 0o600)

    const published = (await call(home, 'GET', '/.well-known/jwks.json')).body.keys
    assert.deepEqual(Object.keys(published[0]).sort(), ['alg', 'e', 'kid', 'kty', 'n', 'use'])
    const good = await readFile(keysFile)
    await writeFile(keysFile, '{"active":')
    assert.deepEqual(await kids(home), [old])
    assert.ok(home.events.some(({ event }) => event === 'keys-unreadable'))
    await writeFile(keysFile, good)
  })

  test('a promoted standby is taken for a primary on the connections that were open before', async () => {
    await call(replica, 'GET', '/me', remote('read', 'replica', user.id))
    const before = await problem(replica, 'POST', '/orders', remote('write', 'primary', user.id), { item: 'Desk' })
    assert.deepEqual(before, [503, 'database-read-only'])
    await services.promote()
    const { status, body } = await call(replica, 'POST', '/orders', remote('write', 'primary', user.id), { item: 'Desk' })
    assert.deepEqual([status, body.role, body.served_by], [201, 'primary', 'eu-nuremberg'])
    const { body: me } = await call(replica, 'GET', '/me', remote('read', 'primary', user.id))
    assert.deepEqual([me.id, me.role], [user.id, 'primary'])
  })

  test('wrong settings are all named at once', async () => {
    const error = await startFaulty({ DATABASES: '{"eu":"mysql://secret@x"}', PORT: 'x' })
    for (const name of ['REGION', 'JWT_KEYS_FILE', 'ISSUER', 'AUDIENCE', 'DATABASES.eu', 'PORT']) assert.ok(error.stderr.includes(name), name)
    assert.equal(error.code, 2)
    assert.doesNotMatch(error.stderr, /secret/)
  })

  test('logs hold no personal data, and SIGTERM drains', async () => {
    const { client, next } = socket(second, write(user.id))
    await next('hello')
    const closed = once(client, 'close')
    const slow = fetch(`${second.url}/upload`, { method: 'POST', headers: write(user.id), duplex: 'half', body: trickle(second) })
    await until(() => second.uploading)
    const stopped = second.stop()
    assert.equal((await closed)[0], 1001)
    second.finish()
    assert.equal((await slow).status, 201)
    assert.equal(await stopped, 0)
    assert.doesNotMatch(JSON.stringify([home.events, second.events, replica.events]), /example\.org|Ada|correct horse/)
  })

  /** A body that sends one chunk, tells so, and ends when the test says. */
  function trickle(api) {
    const finished = new Promise((resolve) => {
      api.finish = resolve
    })
    return new ReadableStream({
      async pull(controller) {
        if (!api.uploading) {
          controller.enqueue(Buffer.from('first'))
          api.uploading = true
        } else {
          await finished
          controller.close()
        }
      },
    })
  }
})

async function startFaulty(environment) {
  const { execFile } = await import('node:child_process')
  const { folder } = await import('./services.js')
  return new Promise((resolve) => {
    execFile(process.execPath, ['server.js'], { cwd: folder, env: environment }, (error, stdout, stderr) => resolve({ code: error?.code, stderr }))
  })
}
