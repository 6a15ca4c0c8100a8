# The reference API, for docker/compose.sidecar.yaml. From the repository's root.
FROM node:20.20.2-bookworm-slim
WORKDIR /api
COPY loadtest/express-api/package.json loadtest/express-api/package-lock.json loadtest/express-api/.npmrc ./
RUN npm ci --omit=dev --no-audit --no-fund
COPY loadtest/express-api ./
# A place for the signing keys that the API's user may write to; a volume mounted here keeps the owner.
RUN install -d -o node -g node /keys
USER node
EXPOSE 3000
CMD ["node", "server.js"]
