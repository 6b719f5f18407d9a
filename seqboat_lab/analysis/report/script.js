// sorts a table by the column whose head is clicked: numbers by value, text by letter, what is empty last
const value = (row, i) => {
  const text = row.cells[i].textContent.trim(), mean = text.split(' ±')[0].replaceAll(',', '');
  return text === '' ? null : isNaN(mean) ? text : Number(mean);
};
const compare = (a, b) => typeof a === typeof b ? (a > b) - (a < b) : typeof a === 'number' ? -1 : 1;
document.querySelectorAll('th').forEach(head => {
  head.onkeydown = event => { if (event.key === 'Enter') head.click() };
  head.onclick = () => {
    const body = head.closest('table').tBodies[0], i = head.cellIndex, down = head.ariaSort === 'ascending' ? -1 : 1;
    head.parentNode.querySelectorAll('th').forEach(other => other.removeAttribute('aria-sort'));
    head.ariaSort = down === 1 ? 'ascending' : 'descending';
    [...body.rows].sort((p, q) => {
      const a = value(p, i), b = value(q, i);
      return a === null || b === null ? (a === null) - (b === null) : down * compare(a, b);
    }).forEach(row => body.append(row));
  };
});
// a trial under the mouse is marked wherever it is drawn, and its row of the table is shown beside it
const tip = document.body.appendChild(document.createElement('div'));
tip.id = 'tip';
const all = trial => document.querySelectorAll(`[data-trial="${CSS.escape(trial)}"]`);
const leave = () => { document.querySelectorAll('.hot').forEach(e => e.classList.remove('hot')); tip.style.display = 'none' };
document.addEventListener('mouseover', event => {
  leave();
  const over = event.target.closest('[data-trial]');
  if (!over) return;
  all(over.dataset.trial).forEach(e => e.classList.add('hot'));
  const row = document.querySelector(`#trials tr[data-trial="${CSS.escape(over.dataset.trial)}"]`);
  if (!row || over.tagName === 'TR') return;
  tip.replaceChildren(...[...row.cells].flatMap((cell, i) => {
    const name = row.closest('table').tHead.rows[0].cells[i].textContent;
    const key = document.createElement('span'), line = document.createElement(i ? 'div' : 'b');
    key.textContent = i ? `${name} ` : 'trial ';
    line.append(key, cell.textContent);
    return cell.textContent === '' ? [] : [line];
  }));
  tip.style.display = 'block';
});
document.addEventListener('mousemove', event => {
  tip.style.left = `${Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8)}px`;
  tip.style.top = `${Math.min(event.clientY + 14, innerHeight - tip.offsetHeight - 8)}px`;
});
