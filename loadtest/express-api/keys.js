// `node keys.js init|rotate|withdraw|list FILE [KID]`: the key file that every API process signs with.

import { changeKeys, newKey, readKeys } from './signing-keys.js'

const commands = {
  async init(file) {
    const { active } = await changeKeys(file, async (before) => {
      if (before) throw new Error(`${file} exists; use rotate`)
      const key = await newKey()
      return { active: key.kid, keys: [key] }
    })
    console.log(active)
  },

  async rotate(file) {
    const { active } = await changeKeys(file, async (before) => {
      const key = await newKey()
      return { active: key.kid, keys: [...existing(before, file).keys, key] }
    })
    console.log(active)
  },

  async withdraw(file, kid) {
    const { active } = await changeKeys(file, (before) => {
      const keys = existing(before, file).keys.filter((key) => key.kid !== kid)
      if (keys.length === before.keys.length) throw new Error(`no key ${kid} in ${file}; list shows them`)
      if (keys.length === 0) throw new Error(`${kid} is the only key; rotate first`)
      // Keys stand in the order they were made: the last is the newest.
      return { active: before.active === kid ? keys.at(-1).kid : before.active, keys }
    })
    console.log(active)
  },

  async list(file) {
    const { active, keys } = await readKeys(file)
    for (const { kid } of keys) console.log(kid === active ? `${kid} active` : kid)
  },
}

function existing(keys, file) {
  if (!keys) throw new Error(`${file} does not exist; use init`)
  return keys
}

const [command, file, kid] = process.argv.slice(2)
if (!Object.hasOwn(commands, command ?? '') || !file || (command === 'withdraw') !== Boolean(kid)) {
  console.error('usage: node keys.js init|rotate|list FILE, node keys.js withdraw FILE KID')
  process.exit(2)
}
try {
  await commands[command](file, kid)
} catch (error) {
  console.error(error.message)
  process.exitCode = 1
}
