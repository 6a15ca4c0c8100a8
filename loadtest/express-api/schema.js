// `node schema.js URL`: creates what is missing of schema.sql in a jurisdiction's primary.

import { readFile } from 'node:fs/promises'
import pg from 'pg'

const url = process.argv[2]
if (!url) {
  console.error('usage: node schema.js postgres://user@host:port/database')
  process.exit(2)
}
const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, application_name: 'api schema' })
try {
  await client.connect()
  await client.query(await readFile(new URL('schema.sql', import.meta.url), 'utf8'))
} catch (error) {
  console.error(`schema not applied: ${error.message || error.code}`) // The URL may hold a password and is not printed.
  process.exitCode = 1
} finally {
  await client.end()
}
