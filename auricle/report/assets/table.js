"use strict";
(() => {
  const table = document.getElementById("table");
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const key = (row, column) => row.cells[column].dataset.key;

  function sort(column) {
    const head = heads[column];
    // Numbers begin with the greatest, names with A; a second press turns it round.
    const first = column === 0 ? "ascending" : "descending";
    const other = column === 0 ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? other : first;
    for (const each of heads) each.setAttribute("aria-sort", each === head ? order : "none");
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => {
      const [x, y] = [key(a, column), key(b, column)];
      if (column === 0) return sign * x.localeCompare(y);
      if (x === "" || y === "") return (x === "") - (y === "");  // what is not defined stays last
      const [p, q] = [Number(x), Number(y)];
      return p === q ? 0 : sign * (p < q ? -1 : 1);
    });
    body.append(...rows);
  }

  heads.forEach((head, column) => head.firstElementChild.addEventListener("click", () => sort(column)));
  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      row.hidden = !key(row, 0).toLowerCase().includes(wanted);
      count += !row.hidden;
    }
    found.textContent = wanted ? `${count} of ${rows.length}` : "";
  });
})();
