// Which database a request may touch, as the residency gateway decided.
//
// Copy this file into an Express app that runs behind the gateway; it needs only `pg`. Three lines wire it:
//
//   const residency = regionRouter({ region: 'eu-frankfurt', databases: { eu: process.env.PG_EU } })
//   app.use(residency.middleware)       // before the routes: sets req.residency and req.db
//   app.use(residency.errorHandler)     // after them: database and routing faults as problem+json
//
// Invariants
// - A request without the gateway's headers is refused, never guessed.
// - A query runs in the database of the request's jurisdiction, or not at all.
// - Nothing is written by a request that the gateway routed as a read: Postgres itself refuses it, because those
//   connections are read-only by default. Such a write would work at home and fail at every replica.
// - A request for the primary is never answered from a standby, so that users read their own writes.
//
// Absent by design: tokens. The gateway has verified them; the app listens where only the gateway can reach it (or sets
// `secret`, and the headers must be signed).

import { createHmac, timingSafeEqual } from 'node:crypto'
import pg from 'pg'

/** Seconds a signature stays valid: generous to clocks, short for a replay. */
const SIGNATURE_LIFE_S = 300

/**
 * An answer to the client by RFC 9457. `code` is stable and for programs, `detail` is for people and names the remedy;
 * neither may hold personal data.
 */
export class Problem extends Error {
  constructor(status, code, title, detail, headers = {}) {
    super(`${code}: ${title}`)
    Object.assign(this, { status, code, title, detail, headers })
  }

  body() {
    const { code, title, status, detail } = this
    return { type: `urn:residency:problem:${code}`, title, status, code, detail }
  }
}

/**
 * @param {object} options
 * @param {string} options.region this process's region
 * @param {Record<string, string | {primary?: string, replica?: string}>} options.databases jurisdiction → URL of the
 *   database of it in this region. One URL is enough; both where the region has both.
 * @param {string} [options.secret] the gateway's `[api] signing_secret`; then only signed headers are believed
 * @param {number} [options.poolSize] most connections per database and access, opened on demand
 * @param {number} [options.timeoutMs] longest wait for a connection, and for the answer to a query
 * @param {Record<string, [status: number, code: string, title: string]>} [options.sqlStates] SQLSTATE → answer, for the
 *   app's own error codes
 * @param {(event: object) => void} [options.log] gets each 5xx: code, route pattern, SQLSTATE, stack; no personal data
 */
export function regionRouter({ region, databases, secret, poolSize = 4, timeoutMs = 20_000, sqlStates = {}, log = () => {} }) {
  const pools = new Map()

  /** The pool for a decision, made at its first use. */
  function poolFor({ jurisdiction, database, access }) {
    const held = Object.hasOwn(databases, jurisdiction) ? databases[jurisdiction] : undefined
    // A region with one database of a jurisdiction asks that one, whatever its role was when this was configured: roles
    // change by promotion, and the database itself says when it can't do what is asked.
    const url = typeof held === 'string' ? held : (held?.[database] ?? held?.primary ?? held?.replica)
    if (!url) {
      throw new Problem(500, 'jurisdiction-not-held', 'This region does not hold that jurisdiction',
        `${region} has no database of ${jurisdiction}. Remedy: add ${jurisdiction} to this API's databases, or take ` +
        `${region} out of that jurisdiction's home and replicas in the gateway's configuration.`)
    }
    const key = `${access} ${url}`
    if (!pools.has(key)) {
      const pool = new pg.Pool({
        Client: RoleAwareClient,
        connectionString: access === 'read' ? readOnly(url) : url,
        max: poolSize,
        connectionTimeoutMillis: timeoutMs,
        statement_timeout: timeoutMs,
        query_timeout: timeoutMs + 1000, // The server's own timeout should come first: it frees the session.
        keepAlive: true,
        application_name: `api ${region} ${access}`,
      })
      pool.on('error', () => {}) // An idle connection broke; the pool has dropped it, and the next query opens another.
      pools.set(key, pool)
    }
    return pools.get(key)
  }

  /** Reads and checks the gateway's headers: the decision, frozen. Throws a Problem. */
  function decision(req) {
    const header = (name) => req.headers[`residency-${name}`] ?? ''
    const [servedBy, access, jurisdiction, database, subject] =
      ['served-by', 'access', 'jurisdiction', 'database', 'subject'].map(header)
    if (!servedBy || !access) {
      throw new Problem(500, 'gateway-headers-missing', 'This request did not come through the gateway',
        'Residency-Served-By and Residency-Access are missing. Remedy: send the request to residency-gateway, which adds ' +
        'them; if it did come that way, something between the gateway and this API strips Residency-* headers.')
    }
    if (secret) {
      verify(secret, header('signature'), [servedBy, access, jurisdiction, database, subject])
    }
    // Node joins a repeated header with a comma, so a second value fails here too.
    if (!['read', 'write'].includes(access) || (jurisdiction && !['primary', 'replica'].includes(database))) {
      throw new Problem(500, 'gateway-headers-invalid', 'The gateway headers make no sense',
        'Residency-Access must be read or write, and Residency-Database primary or replica wherever ' +
        'Residency-Jurisdiction is set. Remedy: let nothing but residency-gateway set Residency-* headers.')
    }
    if (servedBy !== region) {
      throw new Problem(500, 'region-mismatch', 'This request was meant for another region',
        `The gateway sent it to the API of ${servedBy}, and this is ${region}. Remedy: correct the upstreams of ` +
        `${servedBy} in the gateway's configuration, or this API's region.`)
    }
    return Object.freeze({
      servedBy,
      access,
      jurisdiction: jurisdiction || null,
      database: jurisdiction ? database : null,
      // Node hands header bytes over as latin1; a subject may be UTF-8.
      subject: subject ? Buffer.from(subject, 'latin1').toString() : null,
      mode: header('mode') || 'enforce',
    })
  }

  function attach(req, res) {
    req.residency = decision(req)
    req.db = new Database(req.residency, poolFor, (served) => {
      if (res && !res.headersSent) res.setHeader('X-Served-Database', `${served.jurisdiction}/${served.role}`)
    })
  }

  /** Express middleware: req.residency and req.db, or a refusal. */
  function middleware(req, res, next) {
    attach(req, res)
    next()
  }

  /** What the client is told of an error. Unknown ones tell nothing: their message may hold a row's values. */
  function problemOf(error, residency) {
    if (error instanceof Problem) return error
    const where = `the database of ${residency?.jurisdiction} in ${region}`
    if (error.code === '25006' && residency?.access === 'read') {
      return new Problem(500, 'write-in-read-request', 'A request that was routed as a read tried to write',
        'The gateway may send reads to a replica, so this can never work. Remedy: give the route access = "write" in ' +
        'the gateway\'s [routes], or use a method that writes (POST, PUT, PATCH, DELETE).')
    }
    if (error.code === '25006') return standbyFound(where)
    if (Object.hasOwn(sqlStates, error.code ?? '')) {
      const [status, code, title] = sqlStates[error.code]
      return new Problem(status, code, title, `${where} refused the change.`, status === 503 ? { 'Retry-After': '1' } : {})
    }
    if (isTimeout(error)) {
      return new Problem(504, 'database-timeout', 'The database did not answer in time',
        `No answer from ${where} within ${timeoutMs} ms. A write may have been applied: repeat it only if that is safe.`)
    }
    if (isConnectionFault(error)) {
      return new Problem(503, 'database-unavailable', 'The database can\'t be reached',
        `No connection to ${where}, or all ${poolSize} of the pool are busy. A write that was under way may have been ` +
        'applied. Remedy: see whether it runs and accepts connections.', { 'Retry-After': '1' })
    }
    if (error.status === 413) return new Problem(413, 'body-too-large', 'The body is too large', 'Send less in one request.')
    if (error.status >= 400 && error.status < 500) {
      return new Problem(error.status, 'bad-request', 'The request can\'t be read', 'Its body or address is malformed.')
    }
    return new Problem(500, 'internal-error', 'The API failed', 'The log of the API has the cause.')
  }

  function report(problem, error, req) {
    if (problem.status < 500) return
    // Frames only: the first line of a stack is the message, which may quote a row or a body.
    const stack = error === problem ? undefined : error.stack?.split('\n').filter((line) => /^\s+at /.test(line)).slice(0, 5)
    log({ event: 'problem', code: problem.code, status: problem.status, method: req.method, route: req.route?.path,
      jurisdiction: req.residency?.jurisdiction, access: req.residency?.access, error: error.name, cause: error.code, stack })
  }

  /** Express error handler, the last `app.use`. */
  function errorHandler(error, req, res, next) {
    const problem = problemOf(error, req.residency)
    report(problem, error, req)
    if (res.headersSent) return next(error) // Express cuts the connection, so that the client sees a broken answer.
    res.status(problem.status).set(problem.headers).type('application/problem+json')
      .send(JSON.stringify({ ...problem.body(), served_by: region, ...req.db?.served }))
  }

  /**
   * For WebSockets, in `server.on('upgrade', …)`: runs `accept` with req.residency and req.db set. A fault before
   * `accept` has settled is answered in HTTP on the raw socket.
   */
  async function upgrade(req, socket, accept) {
    try {
      attach(req)
      await accept()
    } catch (error) {
      const problem = problemOf(error, req.residency)
      report(problem, error, req)
      const body = JSON.stringify({ ...problem.body(), served_by: region })
      const headers = { 'Content-Type': 'application/problem+json', 'Content-Length': Buffer.byteLength(body),
        Connection: 'close', ...problem.headers }
      const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`).join('')
      socket.end(`HTTP/1.1 ${problem.status} ${problem.title}\r\n${lines}\r\n${body}`)
    }
  }

  /** Ends every pool after its queries in flight; for shutdown. */
  async function close() {
    await Promise.all([...pools.values()].map((pool) => pool.end()))
    pools.clear()
  }

  return { middleware, errorHandler, upgrade, problemOf, close }
}

/** req.db: the database of the request's jurisdiction here. */
class Database {
  #decision
  #poolFor
  #onServed

  /** Who answered last, `{ jurisdiction, role }`, in the database's own words; undefined before the first answer. */
  served

  constructor(decision, poolFor, onServed) {
    this.#decision = decision
    this.#poolFor = poolFor
    this.#onServed = onServed
  }

  /** One statement, as pg's `query`. */
  query(text, values) {
    return this.#borrow((client) => this.#ask(client, text, values))
  }

  /** Runs `work(client)` in a transaction; an error rolls back and is thrown on. */
  transaction(work) {
    return this.#borrow(async (client) => {
      await this.#ask(client, 'BEGIN')
      const result = await work(client)
      await client.query('COMMIT')
      return result
    }, true)
  }

  /**
   * A connection of the caller's own for as long as it likes (LISTEN, cursors), beside the pool. End it with
   * `client.end()`.
   */
  async connect() {
    const { options } = this.#pool()
    const client = new RoleAwareClient(options)
    try {
      await client.connect()
      await this.#ask(client, 'SELECT 1')
      return client
    } catch (error) {
      client.end().catch(() => {}) // It never came up; the reason is thrown.
      throw error
    }
  }

  #pool() {
    if (!this.#decision.jurisdiction) {
      throw new Problem(500, 'jurisdiction-undecided', 'Whose data this is was not decided',
        'The request has no token and its route has no rule that names a jurisdiction. Remedy: require a token, or give ' +
        'the route a country or a jurisdiction in the gateway\'s [routes].')
    }
    return this.#poolFor(this.#decision)
  }

  async #borrow(work, transaction = false) {
    const client = await this.#pool().connect()
    let broken = false
    try {
      return await work(client)
    } catch (error) {
      // After a timeout the answer may still come, and would be taken for the next query's: that session is closed too.
      broken = isConnectionFault(error) || isTimeout(error)
      if (transaction && !broken) broken = await client.query('ROLLBACK').then(() => false, () => true)
      throw error
    } finally {
      client.release(broken)
    }
  }

  async #ask(client, text, values) {
    const result = await client.query(text, values)
    const role = await client.role()
    this.served = { jurisdiction: this.#decision.jurisdiction, role }
    this.#onServed(this.served)
    if (role === 'replica' && this.#decision.database === 'primary') {
      throw standbyFound(`the database of ${this.#decision.jurisdiction} in ${this.#decision.servedBy}`)
    }
    return result
  }
}

/** A client that knows whether its server is a standby, without asking. */
class RoleAwareClient extends pg.Client {
  #inRecovery

  constructor(options) {
    super(options)
    // Postgres 14+ reports in_hot_standby at connect and with the first answer after a promotion (PostgreSQL
    // documentation, protocol, "Asynchronous Operations").
    this.connection.on('parameterStatus', ({ parameterName, parameterValue }) => {
      if (parameterName === 'in_hot_standby') this.#inRecovery = parameterValue === 'on'
    })
  }

  /** `primary` or `replica`, as of the last answer. Older servers and poolers don't report it and are asked. */
  async role() {
    const inRecovery = this.#inRecovery ?? (await this.query('SELECT pg_is_in_recovery() AS yes')).rows[0].yes
    return inRecovery ? 'replica' : 'primary'
  }
}

function standbyFound(where) {
  return new Problem(503, 'database-read-only', 'The database asked for as primary is read-only',
    `The gateway asked for the primary, but ${where} is a standby or set read-only. Remedy: promote it, or make the ` +
    'region that has the primary the jurisdiction\'s home in the gateway\'s configuration.',
    // The gateway sends no more writes here until it has looked for itself.
    { 'Retry-After': '1', 'Residency-Fault': 'read-only' })
}

/** The URL with sessions that are read-only unless the app asks otherwise. */
function readOnly(url) {
  const parsed = new URL(url)
  const options = [parsed.searchParams.get('options'), '-c default_transaction_read_only=on']
  parsed.searchParams.set('options', options.filter(Boolean).join(' '))
  return parsed.href
}

function isConnectionFault({ code = '', message = '' }) {
  // Class 08 connection, 53300 too many connections, 57P shutdown or starting; then the system's and pg's own.
  return /^(08...|53300|57P0[1-5])$/.test(code) || /^E(CONN|PIPE|HOST|NET|TIMEDOUT|AI_)/.test(code) ||
    /^(timeout exceeded when trying to connect|Connection terminated|Client has encountered a connection error)/.test(message)
}

function isTimeout({ code, message }) {
  return code === '57014' || message === 'Query read timeout'
}

/** `t=<unix seconds>,v1=<hex>`, HMAC-SHA256 over the time and the header values, one a line. */
function verify(secret, signature, values) {
  const [, time, given] = /^t=(\d{1,12}),v1=([0-9a-f]{64})$/.exec(signature) ?? []
  const signed = Buffer.from([time, ...values].join('\n'), 'latin1')
  const wanted = createHmac('sha256', secret).update(signed).digest()
  const fresh = Math.abs(Date.now() / 1000 - Number(time)) <= SIGNATURE_LIFE_S
  if (!given || !fresh || !timingSafeEqual(Buffer.from(given, 'hex'), wanted)) {
    throw new Problem(403, 'gateway-signature-invalid', 'The gateway headers are not signed by the gateway',
      'Residency-Signature is missing, wrong, or older than five minutes. Remedy: set the same secret in the gateway\'s ' +
      '[api] signing_secret and in this API, and compare the clocks.')
  }
}
