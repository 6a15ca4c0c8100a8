// Signing up, logging in, and the user's own record.

import { randomUUID } from 'node:crypto'
import { Router } from 'express'
import { SignJWT } from 'jose'
import { invalid, json, subject, text } from '../input.js'
import { hashPassword, passwordMatches } from '../passwords.js'
import { Problem } from '../region-router.js'

export function accounts({ settings, keys, cache }) {
  const routes = Router()

  routes.post('/signup', json, async (req, res) => {
    const country = text(req, 'billing.country', 2).toUpperCase()
    if (!/^[A-Z]{2}$/.test(country)) throw invalid('billing.country must be an ISO 3166 code of two letters.')
    const user = [randomUUID(), email(req), await hashPassword(password(req)), text(req, 'name', 200), country]
    // ON CONFLICT rather than an error: Postgres writes the values of a failed row to its log.
    const { rowCount } = await req.db.query(
      'INSERT INTO users (id, email, password, name, country) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING', user)
    if (rowCount === 0) {
      throw new Problem(409, 'email-taken', 'This e-mail address has an account', 'Log in, or sign up with another address.')
    }
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
        'Check both, and the billing country: it decides where the account is looked for.')
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
