// Password hashes: scrypt (RFC 7914) with its parameters beside the hash, so that they can be raised later.

import { randomBytes, scrypt, timingSafeEqual } from 'node:crypto'
import { promisify } from 'node:util'

const derive = promisify(scrypt)
/** Node's default: 16 MiB and about 40 ms. Low for production (OWASP: N = 2^17), right for a load test's sign-ups. */
const COST = { N: 16_384, r: 8, p: 1 }
const HASH_BYTES = 32

export async function hashPassword(password) {
  const salt = randomBytes(16)
  const hash = await derive(password, salt, HASH_BYTES, COST)
  return ['scrypt', COST.N, COST.r, COST.p, salt.toString('base64url'), hash.toString('base64url')].join('$')
}

/** Takes as long for no user (`stored` undefined) as for a wrong password. */
export async function passwordMatches(password, stored) {
  const [, N, r, p, salt, hash] = (stored ?? ABSENT).split('$')
  const wanted = Buffer.from(hash, 'base64url')
  const given = await derive(password, Buffer.from(salt, 'base64url'), wanted.length, { N: +N, r: +r, p: +p })
  return timingSafeEqual(given, wanted) && stored !== undefined
}

const ABSENT = await hashPassword(randomBytes(16))
