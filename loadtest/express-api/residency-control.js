// The control API of the residency gateway, for sign-ups: which jurisdiction a new user belongs to.
//
// Copy this file into an app; it needs nothing but Node. One client for the life of the process:
//
//   const control = residencyControl({ url: 'https://10.2.0.2:7443', region: 'eu-frankfurt', ca, cert, key })
//   const { jurisdiction } = await control.assign({ subject: id, country: 'DE', identifiers: [email] })
//
// Invariants
// - Every call may be repeated, so a call that met a broken connection or a 503 is, until its deadline.
// - A call ends by its deadline, whatever the gateway does.
// - No subject and no identifier is in an error's message.
//
// Absent by design: writing users. The order is assign, then INSERT: an assigned subject without rows harms nobody and is
// found by `residency-migrate table check`; rows without an assignment would be rows nobody is routed to by their identifier.

import { Agent, request } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'

/** A call that the gateway refused, or that found no answer. `status` is 0 without one; `code` is stable. */
export class ControlError extends Error {
  constructor(status, code, body = {}) {
    super(`${code} (${status || 'no answer'})`)
    Object.assign(this, { status, code, body })
  }
}

/**
 * @param {object} options
 * @param {string} options.url `https://host:port` of the region's gateway, its internal listener
 * @param {string} options.region that region: its gateway's certificate has to name it, whatever the URL's host is
 * @param {string | Buffer} options.ca PEM: `ca.crt` of `residency-migrate pki`
 * @param {string | Buffer} options.cert PEM: `<region>.control.<name>.crt`
 * @param {string | Buffer} options.key PEM: `<region>.control.<name>.key`
 * @param {number} [options.deadlineMs] for a call with all its repetitions
 * @param {number} [options.connections] open at most
 */
export function residencyControl({ url, region, ca, cert, key, deadlineMs = 5000, connections = 4 }) {
  const base = new URL(url)
  const agent = new Agent({ keepAlive: true, maxSockets: connections, ca, cert, key,
    servername: `${region}.gateway.residency.internal`, minVersion: 'TLSv1.3' })

  /** One attempt: `{ status, body }`. */
  function attempt(method, path, payload, signal) {
    return new Promise((resolve, reject) => {
      const headers = payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }
      const sent = request({ agent, host: base.hostname, port: base.port || 443, method, path, headers, signal }, (answer) => {
        let text = ''
        answer.setEncoding('utf8')
        answer.on('data', (part) => { text += part })
        answer.on('error', reject)
        answer.on('end', () => {
          try {
            resolve({ status: answer.statusCode, body: JSON.parse(text) })
          } catch {
            reject(new ControlError(answer.statusCode, 'no-json'))
          }
        })
      })
      sent.on('error', reject)
      sent.end(payload)
    })
  }

  async function call(method, path, value) {
    const payload = value === undefined ? undefined : JSON.stringify(value)
    const signal = AbortSignal.timeout(deadlineMs)
    let last = new ControlError(0, 'control-unavailable')
    for (let pause = 25; !signal.aborted; pause = Math.min(pause * 2, 1000)) {
      try {
        const { status, body } = await attempt(method, path, payload, signal)
        if (status < 300) return body
        last = new ControlError(status, body.code ?? 'unknown', body)
        if (status !== 503) throw last
      } catch (error) {
        if (error === last) throw error
        // The cause may be a deadline's; what was answered before says more.
        if (!signal.aborted && !(error instanceof ControlError)) last = new ControlError(0, 'control-unavailable')
      }
      // Spread, so that processes that lost the same gateway don't come back together.
      await sleep(pause * (0.5 + Math.random()), undefined, { signal }).catch(() => {})
    }
    throw last
  }

  return {
    /** `{ jurisdiction, generation, … }`; throws `move_required`, `identifier-taken`, `country-unknown` as a ControlError. */
    assign: ({ subject, country, identifiers = [] }) => call('POST', '/v1/assign', { subject, country, identifiers }),
    /** Where the subject's requests go, and because of what. */
    explain: (subject, claim) => call('GET', `/v1/subjects/${encodeURIComponent(subject)}${claim ? `?claim=${encodeURIComponent(claim)}` : ''}`),
    /** Closes connections that rest. */
    close: () => agent.destroy(),
  }
}
