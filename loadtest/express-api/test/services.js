// The real services a test runs against, on free ports, stopped and removed by `stop()`: a Postgres primary with a streaming
// standby, Redis, and API processes.

import { execFile, spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { chown, mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import pg from 'pg'

const run = promisify(execFile)
export const folder = fileURLToPath(new URL('..', import.meta.url))

/** The directory of initdb and postgres, or undefined. */
function postgresBinaries() {
  const packaged = existsSync('/usr/lib/postgresql') ? readdirSync('/usr/lib/postgresql').sort((a, b) => b - a) : []
  const places = [process.env.PG_BIN, ...packaged.map((version) => `/usr/lib/postgresql/${version}/bin`), ...process.env.PATH.split(':')]
  return places.find((place) => place && existsSync(join(place, 'initdb')))
}

const bin = postgresBinaries()
const redis = process.env.PATH.split(':').map((place) => join(place, 'redis-server')).find(existsSync)

/** Why the services can't start here, or false. */
export const missing =
  (!bin && 'no initdb found: install PostgreSQL or set PG_BIN to its bin directory') ||
  (!redis && 'no redis-server on PATH: install Redis')

async function freePort() {
  const probe = createServer()
  await new Promise((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address()
  await new Promise((resolve) => probe.close(resolve))
  return port
}

/** `{ uid, gid }` of postgres for root, whom Postgres refuses; else nothing. */
async function owner() {
  if (userInfo().uid !== 0) return {}
  const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await run('id', [flag, 'postgres'])).stdout)))
  return { uid, gid }
}

/** Asks until the answer is true; the test's own timeout ends a hopeless wait. */
export async function until(condition) {
  while (!(await condition())) await sleep(20)
}

async function accepts(url) {
  const client = new pg.Client({ connectionString: url })
  client.on('error', () => {}) // A server that is starting may hang up.
  try {
    await client.connect()
    return true
  } catch {
    return false
  } finally {
    await client.end().catch(() => {})
  }
}

/** A process that is ended by `signal`, and its exit code. */
function service(command, args, options, signal) {
  const child = spawn(command, args, { stdio: 'ignore', ...options })
  const exited = new Promise((resolve) => child.once('exit', (code) => resolve(code)))
  const stop = () => {
    if (child.exitCode === null) child.kill(signal)
    return exited
  }
  return { child, exited, stop }
}

/** Starts Postgres twice and Redis. `redis` is its process; `promote()` makes the standby a primary. */
export async function startServices() {
  const as = await owner()
  const home = await mkdtemp(join(tmpdir(), 'express-api-'))
  if (as.uid !== undefined) await chown(home, as.uid, as.gid)
  const running = []
  const stop = async () => {
    await Promise.all(running.map((each) => each.stop()))
    await rm(home, { recursive: true, force: true })
  }
  try {
    const [primaryPort, standbyPort, redisPort] = [await freePort(), await freePort(), await freePort()]
    const url = (port) => `postgres://app@127.0.0.1:${port}/postgres`
    const postgres = (name, port) => {
      const flags = { listen_addresses: '127.0.0.1', port, unix_socket_directories: home, fsync: 'off', hot_standby: 'on',
        shared_buffers: '16MB', max_connections: 50, wal_receiver_status_interval: '1s' }
      const args = ['-D', join(home, name), ...Object.entries(flags).flatMap(([key, value]) => ['-c', `${key}=${value}`])]
      const started = service(join(bin, 'postgres'), args, { ...as, cwd: home }, 'SIGQUIT')
      running.push(started)
      return started
    }
    const cache = service(redis, ['--port', redisPort, '--bind', '127.0.0.1', '--save', '', '--dir', home], { ...as, cwd: home }, 'SIGTERM')
    running.push(cache)
    await run(join(bin, 'initdb'), ['-D', join(home, 'primary'), '-U', 'app', '-A', 'trust', '-N', '--locale=C.UTF-8'], { ...as, cwd: home })
    postgres('primary', primaryPort)
    await until(() => accepts(url(primaryPort)))
    await run(join(bin, 'pg_basebackup'), ['-D', join(home, 'standby'), '-d', url(primaryPort), '-R', '-N', '-c', 'fast', '-X', 'stream'], { ...as, cwd: home })
    postgres('standby', standbyPort)
    await until(() => accepts(url(standbyPort)))
    const promote = () => run(join(bin, 'pg_ctl'), ['promote', '-w', '-D', join(home, 'standby')], { ...as, cwd: home })
    return { primaryUrl: url(primaryPort), standbyUrl: url(standbyPort), redisUrl: `redis://127.0.0.1:${redisPort}`, redis: cache.child, promote, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** Runs `node <script>` in the API's folder and answers its stdout; throws with its stderr. */
export async function node(...args) {
  return (await run(process.execPath, args, { cwd: folder })).stdout.trim()
}

/** Starts `node server.js` with this environment alone, on a free port: `{ url, events, child, stop }`. */
export async function startApi(environment) {
  const api = service(process.execPath, ['server.js'],
    { cwd: folder, env: { PATH: process.env.PATH, PORT: '0', ...environment }, stdio: ['ignore', 'pipe', 'inherit'] }, 'SIGTERM')
  const events = []
  const listening = new Promise((resolve, reject) => {
    createInterface({ input: api.child.stdout }).on('line', (line) => {
      const event = JSON.parse(line)
      events.push(event)
      if (event.event === 'listening') resolve(event)
    })
    api.exited.then((code) => reject(new Error(`the API exited with ${code}`)))
  })
  const { host, port } = await listening
  return { ...api, events, host, port, url: `http://${host}:${port}` }
}
