"""Words that praise and words that blame, in English and Chinese, with what turns or weighs them.

Short lists of everyday words, for service talk and reviews.
"""

from __future__ import annotations

_GOOD = """
able accurate admire affordable amazing appreciate appreciated attractive awesome beautiful
benefit best better blessed bright brilliant calm careful caring charming cheerful clean clear
clever comfortable confident congratulations convenient correct courteous cozy creative dear
delicious delight delighted delightful dependable easy efficient effortless elegant enjoy
enjoyable enjoyed enthusiastic excellent excited exciting fabulous fair faithful fantastic fast
favorite favourite fine flawless flexible fresh friendly fun funny generous gentle genuine glad
good gorgeous grateful great handy happiness happy healthy helped helpful honest hope hopeful
impressed impressive improved incredible inspiring intelligent interesting joy joyful kind kindly
laugh like liked likes love loved lovely loves loyal lucky magnificent marvelous modern neat nice
outstanding patient peaceful perfect perfectly pleasant please pleased pleasure polite positive
pretty professional proud prompt quick recommend recommended refreshing relaxed relaxing reliable
resolved respectful rich right safe satisfied satisfying secure simple sincere skilled smart smile
smooth smoothly solid solved spotless stunning success successful superb support supportive sweet
talented tasty thank thankful thanks thoughtful thrilled tidy trust trusted useful valuable warm
welcome well win wise wonderful worked works worth worthy wow yummy
"""
_BAD = """
abandoned abuse abusive afraid aggressive alone angry annoyed annoying anxious appalling argue
arrogant ashamed awful awkward bad badly bitter blame boring bother bothered broke broken bug
buggy careless cheated clumsy cold complain complained complaint confused confusing corrupt crash
crashed crazy crime cruel cry damage damaged danger dangerous dark dead death defective delay
delayed depressed depressing dirty disappointed disappointing disappointment disaster dishonest
disgusting dislike disliked dreadful dull error errors evil expensive fail failed fails failure
fake fault faulty fear filthy flawed fool foolish forgot fraud frightened frustrated frustrating
gross guilty harm harmful harsh hate hated hates horrible hostile hurt ignorant ignored ill
impatient impossible incompetent incorrect inferior insult insulting jealous junk lacking late
lazy liar lies lonely lose loser lost lousy mad mean mediocre mess messy miserable missing mistake
mistakes nasty negative neglected nervous noisy offensive outdated outrageous overpriced pain
painful panic pathetic poor poorly problem problems refuse refused regret reject rejected
ridiculous rotten rude ruin ruined sad scam scared scary selfish shame shameful sick slow sloppy
sorry spoiled stale stolen stressed stuck stupid suffer suffering terrible threat tired tragic
trouble ugly unacceptable unclear uncomfortable unfair unfortunate unfortunately unfriendly
unhappy unhelpful unpleasant unprofessional unreliable unsafe unusable upset useless violent
wasted weak weird wicked worried worry worse worst worthless wrong
"""
_TURN = """
aint barely cannot hardly lack neither never no nobody none nor not nothing nowhere rarely
scarcely seldom without
"""
_MORE = """
absolutely amazingly awfully completely deeply especially exceptionally extremely greatly highly
hugely incredibly insanely particularly quite really remarkably seriously so super terribly
totally truly unbelievably utterly very
"""
_LESS = "almost fairly kinda less little mildly partly rather relatively slightly somewhat sorta"

_GOOD_ZH = """
好 棒 赞 爱 美 甜 香 乐 妙 帅 优 佳 爽 牛 强 不错 喜欢 喜爱 热爱 满意 开心 高兴 快乐 幸福 愉快
感谢 谢谢 多谢 感激 感动 优秀 优质 优雅 优美 精彩 精美 精致 完美 完善 出色 杰出 卓越 美丽 美好
美味 美妙 漂亮 好看 好听 好吃 好喝 好用 好玩 好评 推荐 赞美 称赞 赞扬 夸奖 表扬 点赞 支持 欣赏
佩服 敬佩 尊敬 尊重 欢迎 祝贺 恭喜 祝福 方便 便捷 便利 快捷 迅速 及时 快速 高效 简单 轻松 容易
舒服 舒适 舒心 放心 安心 省心 安全 安静 干净 整洁 清洁 清新 新鲜 健康 可靠 稳定 牢固 结实 耐用
实用 有用 有效 有益 有趣 值得 划算 实惠 便宜 超值 物美价廉 热情 热心 友好 友善 善良 温柔 温暖 温馨
亲切 礼貌 客气 周到 体贴 细心 耐心 用心 贴心 认真 负责 专业 诚实 诚恳 真诚 守信 公平 公正 正确
准确 清楚 清晰 明白 聪明 智慧 能干 勤奋 努力 勇敢 坚强 自信 乐观 积极 成功 胜利 进步 提高 改善
解决 顺利 顺畅 流畅 惊喜 兴奋 激动 期待 希望 信任 信赖 珍惜 骄傲 自豪 幸运 吉祥 浪漫 可爱 迷人
帮助 帮忙 享受 丰富 独特 创新 先进 豪华 宽敞 明亮 了不起 没问题 没得说 太好了 性价比高 物超所值
"""
_BAD_ZH = """
坏 差 烂 丑 恨 怒 骗 脏 臭 破 慢 贵 笨 傻 蠢 穷 苦 痛 病 死 怕 烦 乱 吵 假 错 糟 惨 讨厌 厌恶 厌烦
憎恨 痛恨 反感 恶心 难受 难过 难看 难听 难吃 难喝 难用 难闻 难堪 伤心 悲伤 悲惨 悲剧 痛苦 失望
绝望 沮丧 郁闷 烦恼 烦躁 生气 愤怒 恼火 气愤 不满 抱怨 投诉 差评 批评 指责 责怪 骂人 侮辱 歧视
欺骗 欺诈 骗子 骗人 虚假 假货 作假 撒谎 谎言 糟糕 糟透 恶劣 低劣 劣质 粗糙 粗心 马虎 敷衍 草率
懒惰 冷漠 冷淡 无礼 粗鲁 傲慢 自私 贪婪 小气 狡猾 残忍 暴力 凶恶 邪恶 危险 威胁 伤害 损害 损失
损坏 破坏 破损 破旧 故障 毛病 缺陷 缺点 瑕疵 漏洞 错误 失误 失败 失效 崩溃 死机 卡顿 掉线 延迟
耽误 拖延 迟到 缓慢 麻烦 困难 复杂 混乱 杂乱 肮脏 污染 腐烂 变质 过期 拥挤 吵闹 嘈杂 浪费 昂贵
太贵 坑人 坑爹 黑心 垃圾 废物 没用 无用 无效 无聊 无趣 无语 枯燥 乏味 沉闷 压抑 紧张 焦虑 担心
担忧 害怕 恐惧 恐怖 可怕 可恶 可怜 可惜 遗憾 后悔 抱歉 羞愧 丢人 丢脸 尴尬 孤独 寂寞 疲惫 疲劳
虚弱 生病 疼痛 受伤 死亡 灾难 不幸 倒霉 拒绝 抛弃 背叛 忽视 糊涂 愚蠢 无知 幼稚 荒谬 离谱 过分
不良 不便 不安 不公 不当 不合格 不负责 不耐烦 不像话 不值得 没意思 没礼貌 没效果 受不了 退货 退款
上当 后果 缺货 短缺
"""
_TURN_ZH = """
不 没 没有 别 无 非 未 勿 莫 并非 从不 从未 毫不 绝不 不是 不会 不能 不太 不够 不再 难以 缺乏 并不
"""
_MORE_ZH = """
很 太 最 更 极 超 好好 非常 十分 特别 极其 极为 格外 相当 尤其 实在 真 真的 真是 超级 完全 太过
无比 万分 如此
"""
_LESS_ZH = "稍 略 有点 有些 稍微 略微 一点 比较 还算 勉强 几乎 些许"

# Praise 1, blame -1; a word of both Chinese lists would be an error that a test finds.
VALENCES: dict[str, float] = {
    **dict.fromkeys((*_GOOD.split(), *_GOOD_ZH.split()), 1.0),
    **dict.fromkeys((*_BAD.split(), *_BAD_ZH.split()), -1.0),
}
LISTS: dict[str, tuple[str, ...]] = {
    "good en": tuple(_GOOD.split()),
    "bad en": tuple(_BAD.split()),
    "good zh": tuple(_GOOD_ZH.split()),
    "bad zh": tuple(_BAD_ZH.split()),
}
NEGATIONS = frozenset((*_TURN.split(), *_TURN_ZH.split()))
# What a word just before does to the strength of praise or blame.
STRENGTHS: dict[str, float] = {
    **dict.fromkeys((*_MORE.split(), *_MORE_ZH.split()), 1.5),
    **dict.fromkeys((*_LESS.split(), *_LESS_ZH.split()), 0.5),
}
