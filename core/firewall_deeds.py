"""Words for what is to be done: data read, carried out or sent, secrets and places, harm, and answers made to order.

As `core.firewall_orders`, whose other half this is.
"""

from core.firewall_orders import Concept

DEEDS = {
    "send": Concept(
        latin=(
            r"(?:compose|write|draft|create) (?:a |an |the )?(?:new )?(?:reply|e-?mail|message|mail|dm)|send|sends|"
            r"sending|forward(?:ing)?|upload(?:ing)?|transmit(?:ting)?|relay(?:ing)?|b?cc:? |post (?:it|them|"
            r"the link)|submit|deliver|smuggle|(?:e-?mail|post|mail|report|push|message|share|dm|text|hand|give|pass|"
            r"write|return|move|copy|put|sync|export|dump|publish|paste|disclose|stream|beam|pipe|ship|direct|supply|"
            r"feed|route|dispatch) (?:(?:it|them|this|that|these|those|all|the|any|every|everything|each|its|their|"
            r"his|her|your|my|our|full|entire|whole|complete|a|back|out|over|along)\b ?)+|(?:to|must|should|shall|"
            r"will|can|also|always) (?:also )?(?:be|go|get) (?:sent|forwarded|copied|uploaded|posted|mailed|delivered|"
            r"reported|to)\b|are to be sent|use (?:it|them) as|drop (?:it|them|these) (?:in|into|at)|(?:make|issue|"
            r"perform|fire|do) (?:an? )?(?:http |https )?(?:get|post|put|web|network|outbound)? ?request|envia(?:r|le|"
            r"lo|los|las|me)?\b|envie[zr]?|envio|reenvia|manda(?:r|me|lo|le)?\b|sube|transfiere|envoi[es]|envoye[zr]?|"
            r"transfere[zr]?|transmet\w*|expedie|sende[nt]?\b|schick(?:e|en|st|t)?\b|leite .{0,60}weiter|ubermittle|"
            r"ubertrage|lade .{0,60}hoch|mail[et]?\b|invia(?:re|lo|li|le)?\b|inoltra|spedisci|carica|encaminhe|"
            r"mande\b|transmita|stuur|verzend|verstuur|upload|wyslij|przeslij|przekaz|gonder|ilet\b|yukle|odesli|"
            r"posli|skicka|sand\b|laheta|kirim(?:kan)?|teruskan|unggah|gui\b|chuyen|kuldd|trimite"
        ),
        other=(
            r"отправ|пошли|перешли|передай|вышли|загрузи|надішли|відправ|发送|发给|发到|发往|转发|上传|傳送|发至|寄给|"
            r"寄到|提交到|送信|送って|転送|アップロード|送れ|送付|보내|전송|업로드|전달|ارسل|أرسل|إرسال|ارسال|حمّل|"
            r"भेज|שלח|שליח|στειλ|στείλ|ส่ง|পাঠা|بفرست"
        ),
    ),
    "steal": Concept(
        latin=(
            r"exfiltrat(?:e|ing)|leak (?:the|all|any|every|it|them|data|secrets?|user)|steal (?:the|all|any|every|"
            r"user)|siphon|smuggle"
        ),
    ),
    "carry": Concept(
        latin=(
            r"(?:append|include|attach|embed|insert|add|place|fill|encode|pass|put|copy|concatenat|interpolat|"
            r"substitut|replac|paste|stash|hide|smuggl|stor|suppl|provid|writ|load|contain|hold)(?:e|es|ing|ed|s|y|"
            r"ies)?\b"
        ),
        other=r"附加|附上|包含|嵌入|放入|填入|写入|添付|含め|埋め込|포함|첨부|включи|добавь|вставь",
    ),
    "slot": Concept(
        latin=(
            r"(?:as|in|into|to|via|through|using|inside|within|for|under) (?:the |a |an |its |your |this |each |"
            r"every )?[`'\x22]?\w{1,30}[`'\x22]? (?:parameter|argument|param|field|arg|input|property|header|query|"
            r"attribute)s?|(?:in|into|to|with|inside) (?:the |your |every |each |all |its |an? |any )*(?:next |first |"
            r"final |following |new |public |subsequent |issue |commit |pull request |merge request )*(?:calls?|"
            r"requests?|messages?|response|reply|replies|answers?|summary|output|title|description|subject|comments?|"
            r"body|tool calls?|prompt|url|link|readme|gist|issue|post)\b|(?:in|as|into|to) [`'\x22]\w{2,30}[`'\x22]|"
            r"[`'\x22]\w{2,30}[`'\x22] (?:argument|parameter|field|param|input)\b|(?:side_?note|parameter|argument|"
            r"query string|url parameter|params?|query parameter|request body|subject line|commit message|"
            r"custom header)\b|\?\w{1,20}=|(?:in|to|into) (?:the|your|its) (?:url|link|image|response|answer|reply|"
            r"output|summary|arguments?|query|body|path)"
        ),
    ),
    "secret": Concept(
        latin=(
            r"pass(?:word|wd|code|phrase)s?|(?:last|latest|recent|previous) (?:\w+ ){0,2}(?:e-?mails?|messages?|"
            r"transactions?|documents?|conversations?)|[a-z]+_(?:api_?)?(?:keys?|tokens?|secrets?|passwords?|"
            r"credentials)\b|(?:names?|addresses|numbers|details|lists?|records|values?) of (?:all|every|the|our|your|"
            r"each)|clipboard|credentials?|(?:api|access|secret|private|ssh|encryption|signing|service|account|"
            r"license|master|recovery|deploy|aws|gpg|pgp|host)[ _-]?(?:keys?|tokens?|codes?)|(?:auth|bearer|session|"
            r"refresh|security|login|oauth|csrf|jwt|github|slack|2fa|mfa|otp|one-time)[ _-]?(?:tokens?|codes?|"
            r"cookies?|keys?|ids?)|tokens?\b|secrets?\b|\bkeys\b|environment variables?|env(?:ironment)? ?vars?|"
            r"process\.env|os\.environ|printenv|cookies?\b|(?:credit|debit|payment|bank) (?:cards?|accounts?|details|"
            r"information|data|numbers?)|card numbers?|cvv|\bssns?\b|social security|(?:conversation|chat|message|"
            r"browsing|session|dialog(?:ue)?|command|search|shell|call)(?:'s)? (?:history|logs?|transcripts?|"
            r"contents?|data|context)|(?:whole|entire|full|complete|this|our|the) (?:conversation|chat|dialogue?|"
            r"transcript|context window|thread|session)|(?:previous|prior|earlier|all|last|user'?s?|"
            r"these) (?:\w+ ){0,2}messages|(?:two-?factor|2-?fa|verification|one-time|backup|recovery|reset|access|"
            r"pin|auth\w*) codes?|system prompts?|(?:personal|private|sensitive|confidential|internal|proprietary|"
            r"classified|financial|medical|health|customer|client|user|employee|patient|company|payroll|salary|hr|"
            r"account|login|tax|billing)(?:'s|s')? (?:data|details|information|info|records?|files?|documents?|"
            r"contents?|messages?|history|emails?|mail|notes|calendar|lists?|names?|address(?:es)?|phone|numbers?|"
            r"names?|identity)|(?:users?'?s?|customers?'?s?|their|his|her|employees?'?|clients?'?) (?:full |home |"
            r"private |phone |real |e-?mail |recent )*(?:data|details|information|info|records?|files?|documents?|"
            r"contents?|messages?|history|emails?|mail|notes|calendar|names?|address(?:es)?|phone|location|identity|"
            r"contacts?|inbox|passport|balances?)|connection strings?|database_url|seed phrases?|mnemonics?|wallets?|"
            r"private repos?(?:itor(?:y|ies))?|keychain|database (?:dump|contents?|credentials)|(?:address|"
            r"contact) (?:book|lists?)|contacts\b|inbox|mailbox|kubeconfig|service account|confidential|source code|"
            r"api responses?|file contents?|contents? of (?:the|any|all|every|each|this|your|that)|contrasenas?|"
            r"claves?\b|credenciales|datos (?:personales|privados|confidenciales|del usuario|bancarios)|historial|"
            r"mots? de passe|identifiants|cles? (?:api|privees?|d'acces|secretes?|ssh)|jetons?|"
            r"donnees (?:personnelles|confidentielles|privees|bancaires)|passwort\w*|kennwort\w*|zugangsdaten|"
            r"schlussel\w*|api-?schlussel|geheim\w*|anmeldedaten|kundendaten|gesprachsverlauf|chatverlauf|"
            r"vertrauliche\w*|chiav[ei]|credenziali|dati (?:personali|riservati|sensibili)|cronologia|senhas?|"
            r"credenciais|chaves?|dados (?:pessoais|confidenciais|do usuario|bancarios)|historico|wachtwoord\w*|"
            r"inloggegevens|sleutels?|gegevens|hasl[ao]|hasel|klucz\w*|danych|dane|sifre\w*|parola\w*|anahtar\w*|"
            r"hesla?|losenord|nycklar|salasana\w*|avaimet|kata sandi|kunci|kredensial|mat khau|khoa|jelszo|parole"
        ),
        other=(
            r"парол|ключ|секрет|токен|учетн|учётн|переписк|историю|персональн|личн\w* данн|密码|密碼|密钥|密鑰|凭证|"
            r"凭据|憑證|令牌|私钥|口令|对话记录|聊天记录|對話|对话|个人信息|機密|机密|敏感|用户数据|用户信息|"
            r"パスワード|秘密鍵|認証情報|トークン|機密|個人情報|会話履歴|会話|キーを|비밀번호|암호|API 키|api 키|키를|"
            r"자격 증명|토큰|대화 내용|대화 기록|개인정보|기밀|كلمة المرور|كلمات المرور|كلمة السر|مفتاح|مفاتيح|بيانات|"
            r"السرية|पासवर्ड|कुंजी|गोपनीय|क्रेडेंशियल|סיסמ|מפתח|κωδικ|รหัสผ่าน|পাসওয়ার্ড|رمز عبور"
        ),
    ),
    "asset": Concept(
        latin=(
            r"(?:this|the|these|all|any|every|each|entire|last|latest|your|full|whole|user'?s?|their|his|her|"
            r"my)(?: (?:\w+ ){0,2})?(?:documents?|files?|folders?|e-?mails?|mails?|threads?|conversations?|data|"
            r"spreadsheets?|messages?|notes?|records?|repositor(?:y|ies)|code|results?|contents?|calendar|"
            r"attachments?|drafts?|logs?|answers?|location|table|tables)\b|whatever you (?:find|see|have)|"
            r"anything you|mensajes?|correos?|archivos?|ficheros?|messages|courriels?|fichiers?|boite mail|"
            r"nachrichten|dateien|e-?mails?|messaggi|posta|arquivos|mensagens|berichten|bestanden|wiadomosci|pliki|"
            r"mesajlar|dosyalar|pesan|berkas|tin nhan|tep|filer|meddelanden|viestit|tiedostot"
        ),
        other=(
            r"сообщени|файл|письм|文件|邮件|消息|信息|内容|数据|ファイル|メール|メッセージ|データ|履歴|파일|메일|"
            r"메시지|데이터|رسائل|ملفات|البريد|संदेश|फ़ाइल|ईमेल|डेटा"
        ),
    ),
    "path": Concept(
        other=(
            r"\.ssh\b|id_(?:rsa|ed25519|ecdsa|dsa)|(?:^|[\s`'\x22/(,])\.env\b|\.aws/|/etc/(?:passwd|shadow|hosts|"
            r"sudoers|kubernetes)|\.npmrc|\.netrc|\.git-?credentials|\.pgpass|\.kube/config|\.docker/config|mcp\.json|"
            r"\.cursor/|claude_desktop_config|\.bash_history|\.zsh_history|\.gnupg|credentials\.json|"
            r"/proc/self/environ|/proc/\d+/environ|169\.254\.169\.254|metadata\.google|secrets?\.(?:ya?ml|json|toml|"
            r"env)|wallet\.dat|login data|\.config/gcloud|keystore|authorized_keys|\.vault|terraform\.tfstate|"
            r"sam\b.hive|ntds\.dit"
        ),
    ),
    "read": Concept(
        latin=(
            r"(?:read|open|cat|access|load|retriev|fetch|collect|gather|extract|obtain|grab|list|find|search|look up|"
            r"locat|get|harvest|steal|dump|scan|query|export|download|enumerat|take|view|inspect)(?:e|es|ing|s)?\b|"
            r"lee|leer|lis|lisez|lies\b|lese|leggi|leia|lees|przeczytaj|oku\b|baca|doc\b"
        ),
        other=r"прочитай|прочти|прочита|读取|讀取|读一下|查看|获取|収集|読み|読ん|읽|اقرأ|اقرا|पढ़",
    ),
    "dest": Concept(
        other=(
            r"https?://|\+\d[\d\- ]{6,}|hxxps?://|\bwww\.[a-z0-9-]+\.|[a-z0-9._%+-]+@[a-z0-9-]+\.[a-z]{2,}|"
            r"\b(?:\d{1,3}\.){3}\d{1,3}\b|\b[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|net|org|io|xyz|ru|cn|tk|co|dev|app|"
            r"site|online|info|biz|me|cc|top|example|test|evil|attacker|click|link|live|space|pw|ly|sh|invalid)\b|"
            r"\bwebhook|\bmy (?:server|endpoint|email|inbox|site|domain|address|account|wallet|machine|channel|"
            r"number)|\bexternal (?:server|endpoint|service|address|site|url|party|host|domain)|\bremote (?:server|"
            r"host|endpoint)|\bpastebin|\btelegram|\bdiscord|\bngrok|\bcollaborator|\bthe following (?:address|url|"
            r"email|endpoint|server|account|link)|\battacker|\b(?:this|our) (?:server|endpoint|url|webhook|address|"
            r"collector|listener)|\bpublic (?:gist|repo|repository|channel|bucket|link|folder|issue)|外部|サーバー|"
            r"服务器|сервер|внешн|서버|خادم|सर्वर"
        ),
    ),
    "reveal": Concept(
        latin=(
            r"reveal|(?:want|like|love|need) to (?:know|see|read|hear)|(?:know|see|wonder|curious) (?:what|how|about)|"
            r"look(?:s|ed)? like|continue|put|finish|complete|steht|was sind|quelles sont|cuales son|quali sono|print|"
            r"repeat|show|output|display|disclose|tell (?:me|us)|expose|recite|write (?:out|down|back)|dump|"
            r"give (?:me|us)|what (?:is|are|were|was|does)|list|quote|summari[sz]e|translate|echo|spell out|leak|"
            r"share|return|paste|copy|start(?:ing)? with|reproduce|restate|paraphrase|describe|provide|send|convert|"
            r"encode|begin your|verbatim|word for word|muestra|muestrame|revela|imprime|repite|dime|affiche[zr]?|"
            r"revele[zr]?|montre[zr]?|repete[zr]?|dis-moi|donne[zr]?|zeig\w*|verrate|verrat|gib|wiederhole|nenne|"
            r"mostra(?:mi)?|rivela|ripeti|stampa|dimmi|mostre|repita|diga|toon|onthul|herhaal|geef|pokaz|ujawnij|"
            r"powtorz|wypisz|goster|acikla|yazdir|soyle|visa|avsloja|nayta|tampilkan|ungkapkan|tunjukkan|sebutkan|"
            r"hien thi|tiet lo|in ra|cho toi"
        ),
        other=(
            r"покажи|раскрой|выведи|повтори|напечатай|перечисли|скажи|显示|顯示|告诉我|告訴我|透露|输出|輸出|打印|"
            r"重复|重複|泄露|展示|列出|表示|教えて|見せて|開示|出力|繰り返|示して|보여|알려|출력|공개|반복|말해|اظهر|"
            r"أظهر|اكشف|اطبع|اعرض|كرر|أخبرني|दिखा|बताओ|बताएं|बताइए|प्रकट|दोहरा|הצג|חשוף|δειξε|δείξε|αποκαλυψ|แสดง|"
            r"เปิดเผย"
        ),
    ),
    "prompt": Concept(
        latin=(
            r"(?:system|initial|hidden|original|secret|developer|internal|base|pre|first|underlying|custom|full|exact|"
            r"entire|complete|master|core|starting)[ -]?(?:prompts?|instructions?|messages?|rules|guidelines|"
            r"directives?|preamble|configuration)|your (?:own )?(?:exact |full |entire |complete |current |secret |"
            r"internal |hidden |initial |original |system |underlying |confidential )*(?:prompts?|instructions?|rules|"
            r"guidelines|configuration|directives?|preamble|initiali[sz]ation|constraints|programming)|"
            r"(?:instructions?|rules|prompt|guidelines|directives?) (?:you (?:were|have been|'ve been|are|received|"
            r"got|operate|follow)|given to you|that (?:govern|define|guide))|(?:text|words|content|everything|message|"
            r"conversation|lines|all)(?: that (?:is|are|comes?|came|appears?))? (?:above|before (?:this|my)|"
            r"prior to this|preceding)|(?:text|content) of your instructions|how (?:were|are) you (?:configured|"
            r"instructed|programmed|set up|prompted)|(?:what|which) (?:instructions|rules|guidelines|tools|functions|"
            r"prompt|restrictions) (?:do|were|did|are|have) you|(?:instructions|prompt|rules|message|context) (?:at|"
            r"from) the (?:start|beginning|top)|(?:above|before|earlier) (?:this|the) (?:line|point|message|"
            r"conversation|text)|(?:first|initial|opening) (?:\d+ )?(?:words?|lines?|sentences?|messages?|paragraphs?|"
            r"tokens?)|(?:behind|underlying) (?:your|the) (?:instructions|rules|prompt)|pre-?prompt|context window|"
            r"prompt text|(?:orders|instructions|rules|commands) (?:that )?(?:were |are |have been )?(?:given|told|"
            r"provided|issued) to you|the instructions (?:in detail|verbatim|word)|all (?:of )?(?:the |"
            r"your )?instructions|(?:my|the|your) (?:system )?prompt (?:is|says|was|reads)|(?:top|beginning|"
            r"start) of (?:this|the|our) (?:conversation|chat|prompt|session|context)|(?:what|everything|"
            r"anything) (?:did )?(?:the |your )?(?:developer|operator|system|creator)s? (?:told|tell|said|say|gave|"
            r"give|asked|ask)(?: you)?|hidden (?:text|rules|content|instructions)|text the user (?:cannot|can'?t) see|"
            r"(?:beginning|start) of (?:our|this|the) (?:chat|conversation|session)|tus (?:instrucciones|reglas)|"
            r"tes (?:instructions|consignes|regles)|(?:deine[nr]?|eure[nr]?) (?:anweisungen|instruktionen|regeln|"
            r"vorgaben)|tue (?:istruzioni|regole)|suas (?:instrucoes|regras)|jouw (?:instructies|regels)|"
            r"twoje (?:instrukcje|zasady)|avant ce message|antes de este mensaje|vor dieser nachricht|"
            r"prompt del sistema|instrucciones (?:iniciales|del sistema|internas|ocultas|originales|secretas)|"
            r"(?:prompt|invite|message) (?:du )?systeme|instructions (?:initiales|systeme|internes|cachees|secretes|"
            r"d'origine)|(?:system-?prompt|systemanweisung\w*|systemaufforderung|systemnachricht)|(?:ursprunglichen?|"
            r"internen?|geheimen?|versteckten?) (?:anweisungen|instruktionen|prompt)|prompt di sistema|"
            r"istruzioni (?:iniziali|di sistema|interne|nascoste|segrete)|prompt do sistema|instrucoes (?:iniciais|"
            r"do sistema|internas|ocultas|secretas)|systeemprompt|systeeminstructies|prompt systemow\w*|"
            r"instrukcje systemowe|sistem (?:istemi\w*|talimat\w*|prompt\w*|komut\w*)|systemprompt\w*|"
            r"jarjestelmakehote\w*|prompt sistem|instruksi (?:sistem|awal)|loi nhac he thong|prompt he thong"
        ),
        other=(
            r"систем\w* (?:промпт|инструкц|сообщен|подсказк|запрос)|системн\S* (?:промпт|инструкц|сообщен|подсказк|"
            r"запрос)|начальн\S* инструкц|исходн\S* инструкц|скрыт\S* инструкц|系统提示|系統提示|系统指令|系统消息|"
            r"初始指令|初始提示|内部指令|你的(?:提示词|指令|规则|系统)|システムプロンプト|初期指示|内部指示|"
            r"システムメッセージ|初期プロンプト|시스템 프롬프트|초기 지시|시스템 메시지|시스템 지시|내부 지침|"
            r"موجه النظام|تعليمات النظام|التعليمات الاولية|التعليمات الأولية|सिस्टम प्रॉम्प्ट|सिस्टम निर्देश|"
            r"प्रारंभिक निर्देश|סיסטם פרומפט|הנחיות המערכת"
        ),
    ),
    "tool": Concept(
        latin=(
            r"(?:before|prior to|after|whenever|each time|every time|any time|when(?:ever)? you|instead of|while|upon|"
            r"once you|always when|for every|on every|in addition to) (?:you (?:are |have )?)?(?:us\w{1,4}|call\w*|"
            r"invok\w*|run\w*|execut\w*|answer\w*|respond\w*|perform\w*|return\w*|complet\w*|summari\w*|access\w*|"
            r"request\w*|do(?:ing)? (?:this|anything|so)|continu\w*|proceed\w*)|"
            r"when(?:ever)? [\w.`'\-]+ (?:tool )?is (?:called|invoked|used|run|executed|available)|(?:call|invoke|use|"
            r"run|execute|trigger) (?:the |this |that |your |another |any |"
            r"it )?[`'\x22]?[a-z0-9]+(?:[_.\-/][a-z0-9]+)+[`'\x22]?|(?:call|invoke|use|run|execute|trigger|activate|"
            r"employ) (?:the |your |any |all |available |that |another )*[`'\x22]?[\w-]+[`'\x22]? (?:tool|function|"
            r"command|plugin|action|skill|api|method|endpoint)s?|(?:this|the) tool (?:must|should|has to|requires|"
            r"needs|replaces|supersedes|will not work|won'?t work|fails?)|(?:other|another|any other|all other|"
            r"different) (?:tools?|servers?|functions?)|tool calls?"
        ),
    ),
    "must": Concept(
        latin=(
            r"must|duty|obliged|you (?:should|will|shall|need to|have to|are (?:required|instructed|to|obligated|"
            r"ordered|directed|authori[sz]ed|expected|commanded))|always|mandatory|required|make sure|be sure|ensure|"
            r"immediately|first|urgent(?:ly)?|important|critical|without (?:fail|exception|delay)|strictly|"
            r"at all costs|do it now|right now|failure to|hereby|it is (?:essential|imperative|vital|crucial)|please"
        ),
    ),
    "harm": Concept(
        latin=(
            r"(?:delet|eras|wip|destroy|remov|purg|drop|overwrit|encrypt|format|truncat|corrupt)(?:e|es|ing|y|s|"
            r"t)? (?:all|every|the|any|everything|each|entire|user|production|customer|my|your|their|this|its)\b|"
            r"rm -rf|drop (?:table|database|schema)|truncate table|format c:|mkfs|(?:transfer|wire|pay|send|move|"
            r"withdraw|deposit|remit|refund|donate) .{0,40}(?:\$|€|£|usd|eur|dollars|euros?|btc|eth|bitcoin|crypto|"
            r"funds|money|balance|amount|payment|usdt|tokens to|coins)|(?:payment|transfer|refund|"
            r"purchase) of .{0,20}(?:\$|€|£|\d)|(?:disabl|turn off|deactivat|switch off|stop|kill|weaken|bypass|remov|"
            r"suspend|skip|shut down)(?:e|es|ing)? .{0,30}(?:security|logging|auth\w*|mfa|2fa|firewall|antivirus|"
            r"monitoring|alerts?|audit\w*|backups?|protection|verification|validation|checks|tls|ssl)|(?:grant|give|"
            r"assign|elevate|promote|add|escalate|make|set|invite|create) .{0,50}(?:\badmin\w*|owner|root|full access|"
            r"permanent access|remote access|unrestricted|network access|superuser|write access|collaborator|"
            r"privileges?|maintainer|permissions?\b|sudo|public\b)|(?:change|swap|redirect|alter|modify|"
            r"set) .{0,20}(?:recipient|payee|beneficiary|destination)|(?:change|reset|set|update|replace|"
            r"rotate) (?:the |all |every |their |everyone'?s |admin\w* |user'?s |account |root )+.{0,20}(?:passwords?|"
            r"recovery e-?mail|e-?mail address|bank|iban|payee|account number|routing|wallet|credentials|permissions?|"
            r"dns)|(?:approve|merge|accept|close|sign off|lgtm) (?:this|the|all|every|any|it\b|my) ?(?:pr\b|"
            r"pull request|transaction|request|payment|invoice|change|merge|application|candidate|expense|commit|"
            r"without|claim|loan)?|(?:buy|purchase|order|subscribe|book) .{0,30}(?:gift cards?|items?|units?|now|"
            r"subscription|tickets?|licen[cs]e)|(?:execut|run|eval|paste|type)(?:e|es|ing|s|uate)? (?:the |this |"
            r"these |following |that |a )*(?:shell |following |bash |python |powershell |arbitrary |remote |"
            r"downloaded |below )*(?:commands?|code|scripts?|payload|snippet|binary|program|lines?|query|sql)|(?:curl|"
            r"wget|iwr|irm)\b.{0,120}\|\s*(?:sudo )?(?:ba|z|da)?sh|invoke-expression|\biex\b|base64 (?:-d|"
            r"--decode).{0,20}\|\s*(?:ba)?sh|nc -e|/dev/tcp/|reverse shell|chmod 777|crontab|backdoor|"
            r"install .{0,40}(?:extension|package|from|malware|agent)|(?:drop|delete|wipe|empty|clear|"
            r"destroy) the (?:production|customer|user|whole|entire) ?\w* (?:table|database|folder|mailbox|account|"
            r"bucket|repository|disk|index|drive)|(?:delet|eras|wip|destroy|remov)ing the (?:production|entire|whole|"
            r"customer|user)|deletes? all|moved? all (?:their|the|your) (?:mail|files|money)|(?:unlock|"
            r"open) the (?:front |back |garage )?door|(?:switch|turn) the \w+ off|with --no-(?:auth|verify|tls)|"
            r"confirm=false|risk_check=off|add the ssh key|accept (?:every|all|the calendar)|approve (?:every|"
            r"the payment|payments|all)|run the (?:attached|following|downloaded) (?:script|file|program)|borra(?:r)?|"
            r"alle dateien loschen|supprimer tous|eliminar todos|apagar todos|verwijderen|silmeli|elimina (?:todos?|"
            r"todas?|el|la|los|las|ogni|tutti)|supprime[zr]?|efface[zr]?|losche\w*|uberweise|cancella|apague|exclua|"
            r"transfira|verwijder|maak .{0,20}over|usun|przelej|sil(?:in)?\b.{0,20}|hapus|xoa"
        ),
        other=(
            r"удали|переведи|сотри|删除|刪除|转账|轉帳|汇款|(?:支付|付款)|支払い|削除|送金|振り込|삭제|송금|احذف|حوّل|"
            r"हटा|मिटा"
        ),
    ),
    "steer": Concept(
        latin=(
            r"(?:always|only|must|should|please|simply|just|instead|exclusively|never fail to) (?:say|respond|"
            r"recommend|answer|rank|choose|prefer|mention|reply|end|rate|promote|praise|state|suggest|advise|describe|"
            r"tell|conclude|begin|start|output|claim|write|add|include|insist|speak|talk|refuse|call)|(?:give|assign|"
            r"award|rate|score|mark|grade|evaluate|classify|label|treat|consider|report|rank|flag|select|hire|"
            r"shortlist|advance) (?:this|it|the|a|an|them|us|me|our|my|him|her) .{0,50}(?:positive|highest|perfect|"
            r"top|best|5|five|10|ten|100|maximum|max|pass|passed|safe|clean|approved|excellent|benign|first|"
            r"full marks|strong|qualified|exceptional|next round|candidate|trusted|a\+)|(?:rank|place|put|list|"
            r"recommend|choose|select|prefer) (?:this|our|us|it|my|me|him|her|only|the) .{0,30}(?:first|highest|top|"
            r"above|over|best|product|company|brand|candidate|number one|#1)|(?:respond|reply|answer|output|say|write|"
            r"print|return|speak|talk)(?:ing)? (?:only |just |exclusively |back |to (?:every|all|each|any) \w+ |"
            r"solely |nothing but )*(?:with|using|in|\x22|'|“|like|as)|(?:say|write|output|print|reply|respond|answer|"
            r"include)(?: with)?:? (?:only |just )?(?:the (?:string|word|words|phrase|text|sentence|"
            r"line) )?[\x22'“‘«]|(?:positive|glowing|favou?rable|flawless) (?:review|evaluation|rating|recommendation|"
            r"assessment|summary)s? only|do not (?:mention|include|highlight|list|raise|"
            r"report) (?:any )?(?:negatives?|weakness\w*|issues?|problems?|vulnerabilit\w+|bugs?|flaws?|concerns?|"
            r"competitors?|risks?|findings?|drawbacks?|limitations?)"
        ),
        other=(
            r"只(?:输出|回复|回答|说)|回复[“\x22「]|输出[“\x22「]|とだけ|と答え|と返答|라고만|라고 (?:답|말|출력)|"
            r"ответь(?: только)?|напиши|выведи только|فقط|केवल"
        ),
    ),
    "grade": Concept(
        latin=(
            r"(?:give|assign|award|rate|score|mark|grade|evaluate|classify|label|treat|consider|rank|flag|select|hire|"
            r"shortlist|advance|recommend) (?:this|it|the|them|us|our|him|her) .{0,50}(?:highest|perfect|top|best|10|"
            r"ten|100|maximum|full marks|5 stars|five stars|strong hire|qualified|next round|first|safe\b|flawless|"
            r"approved)|(?:no matter|regardless of|whatever) (?:what )?(?:it finds|(?:the )?(?:user|users|they|"
            r"customer|anyone|human)(?: (?:asks?|says?|wants?|requests?))?)|(?:the|your|every|each|all|"
            r"any) (?:summar(?:y|ies)|answers?|responses?|repl(?:y|ies)|outputs?|reviews?|translations?|evaluation|"
            r"verdict|expected output)(?: (?:that )?you \w+)? (?:must|should|has to|have to|needs? to|shall|is to|"
            r"is) (?:always |only |also )*(?:begin|start|end|contain|include|state|say|mention|recommend|praise|"
            r"conclude|[\x22'“`a-z]+$)|(?:append|add|include|insert|put|attach) .{0,60}(?:to|in|into|at the (?:end|"
            r"beginning|top|start|bottom) of) (?:every|each|all|any|your) (?:\w+ )?(?:answers?|responses?|repl(?:y|"
            r"ies)|messages?|outputs?|summar(?:y|ies)|files?|pages?)|(?:append|add|include|insert|"
            r"put) .{0,60}at the (?:end|beginning|top|start|bottom) of (?:your|the|each|every)|(?:approve|accept|"
            r"merge|pass) (?:this|the) \w+ (?:without|and ignore|immediately|despite)|(?:must|have to|has to|"
            r"should) (?:choose|pick|praise|prefer|recommend) (?:this|our|us|it|the)\b|hide the (?:others?|rest)|"
            r"leave out the (?:defects?|flaws?|negatives?|drawbacks?|problems?)|conclude that|describe (?:the|this|it|"
            r"our|them) .{0,30}as (?:flawless|perfect|the best|excellent|safe|benign)|(?:say|state|conclude|claim|"
            r"report|answer|insist|tell them|tell the user) that (?:it|this|the|there|our|they) .{0,40}(?:no |not |"
            r"safe|best|flawless|doubled|perfect|exceptional|recalled|processed|correct)|(?:never|do not|don'?t|"
            r"not) (?:ever )?(?:mention|highlight|list|raise|report|discuss|criticise|criticize|flag) (?:any |the |"
            r"its |our )?(?:negatives?|weakness\w*|issues?|problems?|vulnerabilit\w+|bugs?|flaws?|concerns?|"
            r"competitors?|risks?|findings?|drawbacks?|limitations?|loss(?:es)?|downsides?|defects?)|ignore (?:all |"
            r"any |the )?(?:negative|bad|critical|failing|other|competing) (?:reviews?|feedback|comments?|checks?|"
            r"tests?|evidence|results?|candidates?)"
        ),
    ),
    "decode": Concept(
        latin=(
            r"(?:decod|decrypt|deciph|unscrambl|unencod|de-?obfuscat|base-?64|rot-?13|hex-?decod|caesar|morse|atbash|"
            r"revers|backwards|translate)(?:e|es|er|ing|d|s)?\b"
        ),
        other=r"解码|解密|解碼|デコード|復号|디코드|디코딩|декодируй|расшифруй|فك",
    ),
    "comply": Concept(
        latin=(
            r"(?:follow|execute|obey|perform|do|run|act (?:on|upon)|carry out|comply with|apply) (?:(?:the |its |any |"
            r"these |those |all |decoded |hidden |resulting )*(?:instructions?|commands?|steps?|orders?|message|"
            r"result|text|directives?|contents?)\b|what(?:ever)? (?:it|they|is|the)|it\b|them\b|as (?:it|they|told|"
            r"instructed))|(?:and|then) (?:comply|obey|act accordingly)"
        ),
        other=r"执行|照做|遵照|実行|従って|실행|따르|выполни|исполни|следуй|نفذ|اتبع|पालन कर",
    ),
    "beacon": Concept(
        other=(
            r"!\[[^\]\n]{0,200}\]\(\s*<?https?://[^)\n]{0,400}(?:\{|\$|<|%7b|\[|=\s*[a-z_]*(?:data|secret|token|"
            r"history|conversation|prompt|summary|content|key|user|base64|insert|your|here|xxx)\w*[\s)\x22&])|"
            r"<img[^>\n]{0,300}src=[\x22']?https?://[^>\n]{0,300}(?:\{|\$|%7b|\[|=(?:[a-z_]*(?:data|secret|token|"
            r"history|conversation|prompt|summary|key|user_data)\w*[\x22'&>]))|javascript:[^\s]{4}|data:text/html"
        ),
    ),
    "urlvar": Concept(
        other=(
            r"\]\(\s*https?://[^)\n]{0,300}(?:\{\{?[a-z_ ]{2,40}\}|\$\{|<[a-z_ ]{2,40}>|\[[a-z_ ]{2,40}\])|"
            r"\bhttps?://[^\s)\x22'>]{0,300}[?&/][a-z_]{0,30}=?(?:\{\{?[a-z_ .]{2,40}\}|\$\{[^}]{1,40}\}|"
            r"\[[a-z_ ]{2,40}\]|<[a-z_ ]{2,40}>)"
        ),
    ),
    "render": Concept(
        latin=(
            r"(?:render|display|show|include|add|insert|embed|output|append|load|put|draw|print|end|produce|generate|"
            r"emit|place|click|follow|visit|open|browse|navigate|go)(?:s|ing)? (?:to |with |on )?(?:this|the|an?|"
            r"following|at|one|that|invisible|tracking|every|it\b|each)?\s*(?:following |invisible |tracking |"
            r"markdown |small |hidden |1x1 |transparent )*(?:image|picture|link|markdown|pixel|img|badge|icon|logo|"
            r"url|tag|iframe|page|site|website|https?://)"
        ),
        other=r"图片|画像|이미지|изображени|ссылк|链接|リンク|링크",
    ),
    "fill": Concept(
        latin=(
            r"(?:replac|substitut|fill|swap|interpolat|append|concatenat|add|put|insert|encod|url-?encod|base64|set|"
            r"where|with|contain)(?:e|es|ing|ed|s)? .{0,60}(?:with (?:the|your|all|a|any|its|what)|to (?:the (?:end|"
            r"url|query|link)|it\b|this)|into (?:the )?(?:url|link|query)|is (?:the|your|a) |as (?:the )?(?:query|"
            r"parameter|path))"
        ),
    ),
}
"""Name to meaning. `path`, `dest`, `beacon` and `urlvar` are marks rather than words."""
