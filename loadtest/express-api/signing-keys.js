// The keys that sign tokens: one JSON file shared by every API process, `{ "active": kid, "keys": [private JWK, …] }`.
//
// Invariants
// - The active key is one of the keys. Tokens are signed with it; all keys are published.
// - Readers see a whole file, the old or the new one (rename), and a bad file leaves the last good keys in use.
//
// Absent by design: expiry. A key is valid until it is withdrawn.

import { createPrivateKey, createPublicKey, generateKeyPair, randomUUID } from 'node:crypto'
import { open, readFile, rename, rm, stat } from 'node:fs/promises'
import { promisify } from 'node:util'

/** A new RSA 2048 private JWK for RS256. */
export async function newKey() {
  const { privateKey } = await promisify(generateKeyPair)('rsa', { modulusLength: 2048 })
  return { ...privateKey.export({ format: 'jwk' }), kid: randomUUID(), alg: 'RS256', use: 'sig' }
}

/** Reads and checks a key file: `{ active, keys }`. */
export async function readKeys(file) {
  const { active, keys } = JSON.parse(await readFile(file, 'utf8'))
  if (!Array.isArray(keys) || !keys.some((key) => key.kid === active)) {
    throw new Error('the active key is not among the keys')
  }
  keys.forEach((jwk) => createPrivateKey({ key: jwk, format: 'jwk' }))
  return { active, keys }
}

/**
 * Replaces a key file by `change(before)`, `before` undefined if there is none. The temporary file is the lock: of two
 * changes at once the second fails.
 */
export async function changeKeys(file, change) {
  const fresh = `${file}.new`
  const handle = await open(fresh, 'wx', 0o600).catch((error) => {
    throw error.code === 'EEXIST' ? new Error(`${fresh} exists: another change is under way, or one died and left it`) : error
  })
  try {
    const before = await readKeys(file).catch((error) => {
      if (error.code !== 'ENOENT') throw error
    })
    const after = await change(before)
    await handle.writeFile(`${JSON.stringify(after, null, 2)}\n`)
    await handle.sync()
    await rename(fresh, file)
    return after
  } catch (error) {
    await rm(fresh, { force: true })
    throw error
  } finally {
    await handle.close()
  }
}

/** The keys of a file, followed as it changes. */
export class SigningKeys {
  #file
  #log
  #version
  #current
  #reported

  /** Opens a key file; throws if it can't be read now. */
  static async open(file, log) {
    const keys = new SigningKeys(file, log)
    await keys.#load(await keys.#stamp())
    return keys
  }

  constructor(file, log) {
    this.#file = file
    this.#log = log
  }

  /** `{ kid, privateKey }` that signs now. */
  async active() {
    return (await this.#latest()).active
  }

  /** The public keys, RFC 7517 section 5. */
  async jwks() {
    return (await this.#latest()).jwks
  }

  async #latest() {
    let version = 'missing'
    try {
      version = await this.#stamp()
      if (version !== this.#version) await this.#load(version)
    } catch (error) {
      if (version !== this.#reported) this.#log({ event: 'keys-unreadable', error: error.name, cause: error.code })
      this.#reported = version // Once per state of the file, not once per request.
    }
    return this.#current
  }

  async #stamp() {
    const { mtimeNs, size, ino } = await stat(this.#file, { bigint: true })
    return `${mtimeNs} ${size} ${ino}`
  }

  async #load(version) {
    const { active, keys } = await readKeys(this.#file)
    const activeKey = keys.find(({ kid }) => kid === active)
    this.#current = {
      active: { kid: active, privateKey: createPrivateKey({ key: activeKey, format: 'jwk' }) },
      jwks: {
        keys: keys.map((jwk) => ({
          ...createPublicKey({ key: jwk, format: 'jwk' }).export({ format: 'jwk' }),
          kid: jwk.kid,
          alg: 'RS256',
          use: 'sig',
        })),
      },
    }
    this.#version = version
    this.#log({ event: 'keys-loaded', active, keys: keys.map(({ kid }) => kid) })
  }
}
