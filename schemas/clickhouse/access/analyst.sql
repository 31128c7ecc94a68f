-- Who may read everything: the role tollgate_analyst. It may select and nothing else.
--
-- Put your database's name in place of {{database}} and run this once as a user who may manage access, before the files of
-- teams. Every statement may run twice. Then: GRANT tollgate_analyst TO ada.

CREATE ROLE IF NOT EXISTS tollgate_analyst SETTINGS readonly = 2;

GRANT SELECT ON {{database}}.* TO tollgate_analyst;

-- As soon as one table has a row policy, who has none of its own may see nothing there. So everybody who reads or refills
-- everything needs this one: add the user of Tollgate to it by name.
CREATE ROW POLICY IF NOT EXISTS tollgate_everything ON {{database}}.* FOR SELECT USING 1 TO tollgate_analyst, {{user}};
