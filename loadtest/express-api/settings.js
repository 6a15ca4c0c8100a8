// The environment → settings, every fault named at once with its remedy.

import { readFileSync } from 'node:fs'

/** @throws {Error} whose message lists what is wrong, one fault a line */
export function settings(env) {
  const faults = []
  const required = (name, remedy) => {
    if (!env[name]) faults.push(`${name} is not set: ${remedy}`)
    return env[name]
  }
  const whole = (name, fallback, most = Number.MAX_SAFE_INTEGER) => {
    const text = env[name] || String(fallback)
    if (!/^\d{1,16}$/.test(text) || Number(text) > most) faults.push(`${name} must be a whole number up to ${most}, not "${text}"`)
    return Number(text)
  }
  const result = {
    host: env.HOST || '127.0.0.1',
    port: whole('PORT', 3000, 65_535),
    region: required('REGION', 'the name the gateway\'s configuration gives this region'),
    databases: databases(env.DATABASES, faults),
    control: control(env, faults),
    keysFile: required('JWT_KEYS_FILE', 'make one with `node keys.js init FILE`'),
    issuer: required('ISSUER', 'the gateway\'s token.issuer'),
    audience: required('AUDIENCE', 'the gateway\'s token.audience'),
    redisUrl: env.REDIS_URL || null,
    secret: env.RESIDENCY_SECRET || null,
    poolSize: whole('PG_POOL', 4, 1000),
    tokenTtlS: whole('TOKEN_TTL_S', 3600),
    maxBodyBytes: whole('MAX_BODY_BYTES', 2 ** 30),
    loginAttemptsPerMinute: whole('LOGIN_ATTEMPTS_PER_MINUTE', 60),
    drainMs: whole('DRAIN_MS', 10_000),
    logDeliveries: env.LOG_DELIVERIES === '1',
    failStatus: whole('FAIL_STATUS', 0, 599),
  }
  if (faults.length > 0) throw new Error(faults.join('\n'))
  return result
}

function databases(json, faults) {
  const remedy = 'write {"us":"postgres://…"} or {"us":{"primary":"postgres://…","replica":"postgres://…"}}'
  let held
  try {
    held = JSON.parse(json || 'null')
  } catch {
    held = null
  }
  if (held === null || typeof held !== 'object' || Array.isArray(held)) {
    faults.push(`DATABASES is not a JSON object: ${remedy}`)
    return {}
  }
  for (const [jurisdiction, database] of Object.entries(held)) {
    const entries = Object.entries(typeof database === 'string' ? { primary: database } : (database ?? {}))
    if (entries.length === 0 || entries.some(([role, url]) => !/^(primary|replica)$/.test(role) || !isPostgres(url))) {
      faults.push(`DATABASES.${jurisdiction} holds no postgres:// URL: ${remedy}`) // The value may hold a password.
    }
  }
  return held
}

/** The control API's settings, or null without any of them. */
function control(env, faults) {
  const names = ['CONTROL_URL', 'CONTROL_CA', 'CONTROL_CERT', 'CONTROL_KEY']
  if (names.every((name) => !env[name])) return null
  const missing = names.filter((name) => !env[name])
  if (missing.length > 0) {
    faults.push(`${missing.join(', ')} not set: the control API needs all of ${names.join(', ')}, or none`)
    return null
  }
  if (!URL.canParse(env.CONTROL_URL) || new URL(env.CONTROL_URL).protocol !== 'https:') {
    faults.push('CONTROL_URL is no https:// URL: write that of the gateway\'s internal listener')
  }
  const file = (name) => {
    try {
      return readFileSync(env[name])
    } catch (error) {
      faults.push(`${name} can't be read (${error.code}): name a PEM file of \`residency-migrate pki\``)
      return null
    }
  }
  return { url: env.CONTROL_URL, ca: file('CONTROL_CA'), cert: file('CONTROL_CERT'), key: file('CONTROL_KEY') }
}

function isPostgres(url) {
  return typeof url === 'string' && URL.canParse(url) && /^postgres(ql)?:$/.test(new URL(url).protocol)
}
