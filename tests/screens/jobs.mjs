// Lines for `tollgate submit -f`: ordinary jobs, and hostile names in every field that a producer controls.
export const HOSTILE = [
  '<script>window.pwned=1</script>',
  '"><img src=x onerror="window.pwned=1">',
  "'; DROP TABLE usage_events; --",
  '{{7*7}}${7*7}',
  'a\\b`c\u202e',
];
const pick = (list, n) => list[n % list.length];
for (let n = 0; n < 60; n++) {
  const hostile = pick(HOSTILE, n);
  const line = {
    custom_id: `r-${n}`,
    method: 'POST',
    url: '/v1/chat/completions',
    body: {
      model: n % 20 === 19 ? hostile : 'fast',
      max_tokens: pick([20, 60, 120], n),
      messages: [{ role: 'user', content: n % 6 ? `question ${n}` : `write to ann${n}@example.com` }],
    },
    tollgate: {
      project: n % 3 ? 'wiki' : hostile,
      user: n % 4 ? 'ann' : hostile,
      labels: { template: n % 5 ? 'newsletter' : hostile },
    },
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
