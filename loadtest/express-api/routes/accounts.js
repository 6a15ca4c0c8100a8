// Signing up, logging in, and the user's own record.

import { randomUUID } from 'node:crypto'
import { Router } from 'express'
import { SignJWT } from 'jose'
import { invalid, json, subject, text } from '../input.js'
import { hashPassword, passwordMatches } from '../passwords.js'
import { Problem } from '../region-router.js'
import { ControlError } from '../residency-control.js'

export function accounts({ settings, keys, cache, control }) {
  const routes = Router()

  routes.post('/signup', json, async (req, res) => {
    const country = text(req, 'billing.country', 2).toUpperCase()
    if (!/^[A-Z]{2}$/.test(country)) throw invalid('billing.country must be an ISO 3166 code of two letters.')
    const user = [randomUUID(), email(req), await hashPassword(password(req)), text(req, 'name', 200), country]
    // First the register, then the row: whoever breaks off in between leaves a subject without rows, which is in nobody's way,
    // and no row that nobody finds. README.md has the whole of it.
    if (control) await assignWith(control, req, user[0], country, user[1])
    // ON CONFLICT rather than an error: Postgres writes the values of a failed row to its log.
    const { rowCount } = await req.db.query(
      'INSERT INTO users (id, email, password, name, country) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING', user)
    if (rowCount === 0) throw emailTaken()
    res.answer(201, { id: user[0], jurisdiction: req.residency.jurisdiction, country })
  })

  routes.post('/login', json, async (req, res) => {
    const given = password(req)
    const { rows: [user] } = await req.db.query('SELECT id, password FROM users WHERE lower(email) = $1', [email(req)])
    const limit = settings.loginAttemptsPerMinute
    if (user && limit > 0 && (await cache.loginAttempts(user.id)) > limit) {
      throw new Problem(429, 'login-limited', 'Too many attempts', 'Try again in a minute.', { 'Retry-After': '60' })
    }
    if (!(await passwordMatches(given, user?.password))) {
      throw new Problem(401, 'login-failed', 'E-mail address or password is wrong',
        'Check both, and the billing country where you gave one.')
    }
    const { kid, privateKey } = await keys.active()
    const now = Math.floor(Date.now() / 1000)
    const token = await new SignJWT({ region: req.residency.jurisdiction })
      .setProtectedHeader({ alg: 'RS256', typ: 'JWT', kid })
      .setIssuer(settings.issuer)
      .setAudience(settings.audience)
      .setSubject(user.id)
      .setJti(randomUUID())
      .setIssuedAt(now)
      .setExpirationTime(now + settings.tokenTtlS)
      .sign(privateKey)
    res.set('Cache-Control', 'no-store').answer(200, { access_token: token, token_type: 'Bearer', expires_in: settings.tokenTtlS })
  })

  routes.get('/me', async (req, res) => {
    const { rows: [user] } = await req.db.query('SELECT id, email, name, country, created_at FROM users WHERE id = $1', [subject(req)])
    if (!user) throw new Problem(404, 'not-found', 'No such user here', 'The token\'s subject has no account in this jurisdiction.')
    res.answer(200, user)
  })

  return routes
}

function emailTaken() {
  return new Problem(409, 'email-taken', 'This e-mail address has an account', 'Log in, or sign up with another address.')
}

/** Has the user registered where the country wants it, or throws what the client is to be told. */
async function assignWith(control, req, subject, country, identifier) {
  try {
    const { jurisdiction } = await control.assign({ subject, country, identifiers: [identifier] })
    if (jurisdiction === req.residency.jurisdiction) return
    // The gateway that sent the request here and the one that was asked have different countries.
    throw new Problem(503, 'jurisdiction-differs', 'This country belongs elsewhere', 'Try again in a moment.', { 'Retry-After': '1' })
  } catch (error) {
    if (error.code === 'identifier-taken') throw emailTaken()
    if (error instanceof ControlError) {
      throw new Problem(503, 'sign-up-unavailable', 'Nobody can sign up at the moment', 'Nothing was created; try again.', { 'Retry-After': '1' })
    }
    throw error
  }
}

function email(req) {
  const address = text(req, 'email', 254).toLowerCase()
  if (!/^[^@\s]+@[^@\s]+$/.test(address)) throw invalid('email must be an e-mail address.')
  return address
}

function password(req) {
  const { password } = req.body ?? {}
  if (typeof password !== 'string' || password.length < 8 || password.length > 1024) {
    throw invalid('password must have 8 to 1024 characters.')
  }
  return password
}
