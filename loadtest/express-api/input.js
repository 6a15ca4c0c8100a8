// What handlers take from a request, or the refusal it gets.

import express from 'express'
import { Problem } from './region-router.js'

/** JSON bodies, for the routes that want one; bounded. */
export const json = express.json({ limit: '64kb' })

/** The user the token was made out to. */
export function subject(req) {
  if (req.residency.subject) return req.residency.subject
  throw new Problem(401, 'token-missing', 'A token is needed', 'Send Authorization: Bearer with the access_token of POST /login.',
    { 'WWW-Authenticate': 'Bearer' })
}

/** A text of the body, trimmed, 1 to `most` characters. `path` is dotted. */
export function text(req, path, most, fallback) {
  const value = path.split('.').reduce((part, name) => part?.[name], req.body) ?? fallback
  if (typeof value !== 'string' || value.length > most || value.includes('\0') || (value.trim() === '' && fallback === undefined)) {
    throw invalid(`${path} must be a text of 1 to ${most} characters.`)
  }
  return value.trim()
}

/** A whole number, 1 to `most`. */
export function count(value, name, most, fallback) {
  const number = value === undefined ? fallback : Number(value)
  if (!Number.isInteger(number) || number < 1 || number > most) throw invalid(`${name} must be a whole number, 1 to ${most}.`)
  return number
}

export function invalid(detail) {
  return new Problem(422, 'invalid-input', 'The request lacks something, or it is malformed', detail)
}
