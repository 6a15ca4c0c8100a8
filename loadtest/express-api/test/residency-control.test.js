// The control API's client against a server with real certificates that answers as it is told: what the client does with
// refusals, silence and broken connections. The gateway itself is met in the world's tests.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'
import { ControlError, residencyControl } from '../residency-control.js'

const run = promisify(execFile)
const missing = await run('openssl', ['version']).then(() => false, () => 'no openssl on PATH: install it')

describe('the control client', { skip: missing, timeout: 60_000 }, () => {
  let directory, server, files, answers, seen
  const url = () => `https://127.0.0.1:${server.address().port}`
  const client = (more = {}) => residencyControl({ url: url(), region: 'eu-frankfurt', ...files, ...more })

  /** An authority, and a certificate of it for one name. */
  async function certificate(name) {
    const at = (end) => join(directory, `${name}.${end}`)
    const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    await writeFile(at('ext'), `subjectAltName=DNS:${name}\n`)
    await run('openssl', ['req', ...key, '-keyout', at('key'), '-out', at('csr'), '-subj', `/CN=${name.slice(0, 40)}`])
    await run('openssl', ['x509', '-req', '-in', at('csr'), '-CA', join(directory, 'ca.crt'), '-CAkey', join(directory, 'ca.key'),
      '-CAcreateserial', '-days', '1', '-extfile', at('ext'), '-out', at('crt')])
    return { cert: await readFile(at('crt')), key: await readFile(at('key')) }
  }

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'residency-control-'))
    await run('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '1', '-subj', '/CN=ca',
      '-keyout', join(directory, 'ca.key'), '-out', join(directory, 'ca.crt')])
    const ca = await readFile(join(directory, 'ca.crt'))
    const gateway = await certificate('eu-frankfurt.gateway.residency.internal')
    files = { ca, ...(await certificate('api.control.eu-frankfurt.gateway.residency.internal')) }
    server = createServer({ ca, ...gateway, requestCert: true, rejectUnauthorized: true, minVersion: 'TLSv1.3' }, (req, res) => {
      let body = ''
      req.on('data', (part) => { body += part })
      req.on('end', () => {
        seen.push({ method: req.method, url: req.url, body, port: req.socket.remotePort })
        const answer = answers.shift()
        if (answer === 'silence') return
        if (answer === 'break') return req.socket.destroy()
        res.writeHead(answer[0], { 'content-type': 'application/json' }).end(JSON.stringify(answer[1]))
      })
    })
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  after(async () => {
    server?.closeAllConnections()
    await new Promise((resolve) => server ? server.close(resolve) : resolve())
    await rm(directory, { recursive: true, force: true })
  })

  const script = (...list) => { answers = list; seen = [] }
  const ask = { subject: 'u-1', country: 'DE', identifiers: ['a@b.c'] }

  test('a call is sent once, and connections are kept', async () => {
    script([201, { jurisdiction: 'eu', generation: 1 }], [200, { jurisdiction: 'eu', generation: 1 }], [200, { words: '' }])
    const control = client()
    assert.deepEqual(await control.assign(ask), { jurisdiction: 'eu', generation: 1 })
    await control.assign({ subject: 'u-1', country: 'DE' })
    await control.explain('a/b c', 'eu')
    control.close()
    assert.deepEqual(seen.map(({ method, url }) => `${method} ${url}`),
      ['POST /v1/assign', 'POST /v1/assign', 'GET /v1/subjects/a%2Fb%20c?claim=eu'])
    assert.deepEqual(seen.slice(0, 2).map(({ body }) => JSON.parse(body)), [ask, { ...ask, identifiers: [] }])
    assert.equal(new Set(seen.map(({ port }) => port)).size, 1)
  })

  test('what may pass is tried again, what is refused is not', async () => {
    script('break', [503, { code: 'register-unavailable' }], [200, { jurisdiction: 'eu' }])
    const control = client()
    assert.equal((await control.assign(ask)).jurisdiction, 'eu')
    assert.equal(seen.length, 3)
    script([409, { code: 'move_required', jurisdiction: 'us' }])
    await assert.rejects(control.assign(ask), (error) => error instanceof ControlError && error.status === 409 &&
      error.code === 'move_required' && error.body.jurisdiction === 'us' && !error.message.includes('u-1'))
    assert.equal(seen.length, 1)
    control.close()
  })

  test('the deadline ends a call, and what was answered before it is told', async () => {
    script('silence')
    const control = client({ deadlineMs: 200 })
    await assert.rejects(control.assign(ask), { code: 'control-unavailable', status: 0 })
    script([503, { code: 'read-only' }], 'silence')
    await assert.rejects(control.assign(ask), { code: 'read-only', status: 503 })
    control.close()
  })

  test('a gateway of another region is no gateway', async () => {
    script()
    const control = client({ region: 'us-east', deadlineMs: 200 })
    await assert.rejects(control.assign(ask), { code: 'control-unavailable' })
    assert.equal(seen.length, 0)
    control.close()
  })
})
