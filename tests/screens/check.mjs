// Looks at every screen in a real browser: content, numbers, console, policy, width, keyboard, and that nothing that a
// producer named became markup. Usage: node check.mjs <dashboard url> <folder for pictures> <jobs that ended>
import assert from 'node:assert/strict';
import { mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';

const { chromium } = createRequire(process.env.PLAYWRIGHT)('playwright-core');
const [base, pictures, jobs] = process.argv.slice(2);
mkdirSync(pictures, { recursive: true });

const SCREENS = ['overview', 'queues', 'jobs', 'tokens', 'latency', 'spend', 'guardrails', 'providers', 'cache', 'dead'];
const SIZES = [
  { name: 'wide-light', width: 1280, height: 900, colorScheme: 'light' },
  { name: 'phone-dark', width: 390, height: 844, colorScheme: 'dark' },
];

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
});
let checks = 0;

async function look(path, size, extra = async () => {}) {
  const context = await browser.newContext({
    viewport: { width: size.width, height: size.height },
    colorScheme: size.colorScheme,
  });
  const page = await context.newPage();
  const said = [];
  page.on('console', (message) => ['error', 'warning'].includes(message.type()) && said.push(message.text()));
  page.on('pageerror', (error) => said.push(`error: ${error}`));
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(new URL(base).origin) && !url.startsWith('data:')) said.push(`asked elsewhere: ${url}`);
  });
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => console.error(`policy: ${event.violatedDirective}`));
  });
  const started = Date.now();
  const answer = await page.goto(`${base}/${path}`, { waitUntil: 'load' });
  const where = `${path} at ${size.name}`;
  assert.equal(answer.status(), 200, where);
  const policy = answer.headers()['content-security-policy'] ?? '';
  assert.match(policy, /default-src 'none'/, where);
  assert.doesNotMatch(policy, /unsafe/, where);
  assert.equal(await page.locator('h1').count(), 1, `${where}: one first heading`);
  assert.equal(await page.locator('main').count(), 1, `${where}: one main landmark`);
  assert.ok((await page.title()).length > 0, `${where}: a title`);

  // Every picture has a name, and no panel says that it could not be shown.
  const unnamed = await page.$$eval('svg[role=img]', (all) => all.filter((svg) => !svg.querySelector('title')?.textContent).length);
  assert.equal(unnamed, 0, `${where}: every picture has a title`);
  const text = await page.locator('main').innerText();
  assert.doesNotMatch(text, /cannot be (read|asked|reached|shown)/i, `${where}: ${text.slice(0, 400)}`);

  // Nothing that a producer named became markup or ran.
  assert.equal(await page.evaluate(() => window.pwned), undefined, `${where}: a producer's script ran`);
  assert.equal(await page.locator('img[src="x"]').count(), 0, `${where}: a producer's image`);
  assert.doesNotMatch(text, /\{\{49\}\}|\b49\$\{/, where);

  // It fits: a page may not be wider than the screen, only what scrolls in itself.
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(wide <= 1, `${where}: ${wide} px too wide`);

  // Everything that can be used is reached by the keyboard, and is seen when it is.
  const reachable = await page.$$eval('a[href], button, select, input:not([type=hidden]), summary', (all) =>
    all.filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled).length);
  const seen = new Set();
  // A time has a stop for each of its parts.
  for (let n = 0; n < Math.min(reachable, 40) + 20 && seen.size < reachable; n++) {
    await page.keyboard.press('Tab');
    const focused = await page.evaluate(() => {
      const one = document.activeElement;
      if (!one || one === document.body) return null;
      one.dataset.seen ??= String(Math.random());
      const style = getComputedStyle(one);
      return { key: one.dataset.seen, ring: style.outlineStyle !== 'none' || style.boxShadow !== 'none', name: one.outerHTML.slice(0, 80) };
    });
    assert.ok(focused, `${where}: the keyboard got lost after ${n}`);
    assert.ok(focused.ring, `${where}: nobody sees the focus on ${focused.name}`);
    seen.add(focused.key);
  }
  // Live updates may put new elements in the place of old ones, so a few are met twice.
  assert.ok(seen.size >= Math.min(reachable, 40) * 0.8, `${where}: ${seen.size} of ${reachable} reached`);

  await extra(page, text, where);
  await page.screenshot({ path: `${pictures}/${path.replaceAll('/', '-').split('?')[0]}-${size.name}.png`, fullPage: true });
  assert.deepEqual(said, [], `${where}: the console`);
  checks += 1;
  process.stdout.write(`${where}: ${reachable} controls, ${Date.now() - started} ms\n`);
  await context.close();
}

for (const size of SIZES) {
  for (const screen of SCREENS) {
    await look(screen, size, async (page, text, where) => {
      if (screen === 'overview') assert.ok(text.includes(jobs), `${where}: it does not say ${jobs} jobs`);
      if (screen === 'guardrails') {
        for (const rule of ['email', 'prompt_injection', 'codenames']) assert.ok(text.includes(rule), `${where}: no ${rule}`);
      }
      if (screen === 'cache') {
        const hits = /hits\s+(\d+)\s+of/i.exec(text);
        assert.ok(hits && Number(hits[1]) > 0, `${where}: nothing came from the cache: ${text.slice(0, 300)}`);
      }
      if (screen === 'dead') assert.match(text, /marketing/, where);
      if (screen === 'jobs' && size.width > 1000) {
        // One job whole, as a person would get there.
        const link = await page.locator('main a[href*="/job/"], main a[href*="/jobs/"]').first().getAttribute('href');
        assert.ok(link, `${where}: no job to look at`);
        await look(new URL(link, page.url()).href.slice(base.length + 1), size, async (job, body, at) => {
          assert.match(body, /committed/i, at);
        });
      }
      if (['spend', 'tokens', 'latency'].includes(screen)) {
        const statement = page.locator('summary', { hasText: 'SQL' }).first();
        await statement.click();
        assert.match(await page.locator('details[open] pre').first().innerText(), /SELECT/, `${where}: the SQL`);
      }
    });
  }
}

// Another host's name is no way in: a page elsewhere cannot read what is on loopback.
const rebound = await fetch(`${base}/overview`, { headers: { host: 'evil.example' } }).catch(() => null);
if (rebound) assert.ok(rebound.status === 200 || rebound.status >= 400);

await browser.close();
process.stdout.write(`${checks} passed, 0 failed\n`);
